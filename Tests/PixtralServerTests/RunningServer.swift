import AsyncHTTPClient
import Logging
import NIOCore
import PixtralReference
import PixtralStorage
import Synchronization
import TestSupport
import Testing

@testable import PixtralServer

/// A server on a free port, which ends with this object.
final class RunningServer: Sendable {
  let port: Int
  private let task: Task<Void, any Error>

  /// What a server answers.
  struct Reply {
    let status: Int
    let headers: [String: String]
    let text: String
    var json: JSON { (try? JSON(parsing: text, place: "reply")) ?? .null }
    var error: JSON { json["error"] ?? .null }
  }

  init(_ checkpoint: String = "seeded:tiny", _ edit: (inout ServerSettings) throws -> Void = { _ in })
    async throws
  {
    var settings = ServerSettings(names: ["tiny"])
    settings.port = 0
    // Tests wait for each other: what is no test of time does not depend on it.
    let hour = Duration.seconds(3600)
    settings.patience = Patience(body: hour, images: hour, silence: hour * 2)
    try edit(&settings)
    let server = Server(
      settings, checkpoint: try Checkpoint(checkpoint), tokenizer: try fixtureTokenizer(),
      precision: .float32, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    let (ports, listening) = AsyncStream<Int>.makeStream()
    task = Task {
      defer { listening.finish() }
      try await server.run(until: []) { listening.yield($0) }
    }
    guard let port = await ports.first(where: { _ in true }) else {
      try await task.value
      preconditionFailure("a server that ends at once, without an error")
    }
    self.port = port
  }

  deinit { task.cancel() }

  func get(_ path: String, headers: [(String, String)] = []) async throws -> Reply {
    try await send("GET", path, headers, nil)
  }

  func post(
    _ path: String, _ body: String, headers: [(String, String)] = [("Content-Type", "application/json")]
  ) async throws -> Reply { try await send("POST", path, headers, body) }

  /// - isChunked: whether the length of the body is not told before it.
  func send(
    _ method: String, _ path: String, _ headers: [(String, String)] = [], _ body: String? = nil,
    isChunked: Bool = false
  ) async throws -> Reply {
    var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(path)")
    request.method = .init(rawValue: method)
    for (name, value) in headers { request.headers.add(name: name, value: value) }
    if let body {
      request.body = .bytes(Array(body.utf8), length: isChunked ? .unknown : .known(Int64(body.utf8.count)))
    }
    let response = try await HTTPClient.shared.execute(request, timeout: .hours(1))
    let bytes = try await response.body.collect(upTo: 1 << 26)
    return Reply(
      status: Int(response.status.code),
      headers: Dictionary(response.headers.map { ($0.name.lowercased(), $0.value) }) { first, _ in first },
      text: String(buffer: bytes))
  }

  /// The objects of server-sent events, without the last line, `[DONE]`.
  func events(_ body: String) async throws -> [JSON] {
    let lines = try await post("/v1/chat/completions", body).text.split(separator: "\n\n")
    #expect(lines.last == "data: [DONE]")
    return try lines.dropLast().map { line in
      try #require(line.hasPrefix("data: "))
      return try JSON(parsing: String(line.dropFirst(6)), place: "event")
    }
  }
}
