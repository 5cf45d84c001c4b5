import Hummingbird
import Logging
import NIOCore
import PixtralConformance
import Synchronization

/// A server of a test's own on a free port, which ends with this object.
final class OtherServer: Sendable {
  let port: Int
  private let task: Task<Void, any Error>
  private let asked: Paths

  private final class Paths: Sendable {
    let all = Mutex<[String]>([])
  }

  /// What it was asked for.
  var paths: [String] { asked.all.withLock { $0 } }

  init(_ reply: @escaping @Sendable (Request) async throws -> Response) async throws {
    let (paths, (ports, listening)) = (Paths(), AsyncStream<Int>.makeStream())
    let responder = CallbackResponder { (request: Request, _: BasicRequestContext) in
      paths.all.withLock { $0.append(request.uri.path) }
      return try await reply(request)
    }
    let application = Application(
      responder: responder, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
      onServerRunning: { listening.yield($0.localAddress!.port!) },
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    asked = paths
    task = Task { try await application.run() }
    port = await ports.first { _ in true }!
  }

  /// - retryAfter: the header, in every reply.
  /// - reply: to a path and a body, a status and a body.
  convenience init(
    retryAfter: String? = nil,
    _ reply: @escaping @Sendable (String, String) async throws -> (Int, String)
  ) async throws {
    try await self.init { request in
      let body = try await request.body.collect(upTo: 1 << 24)
      let (status, text) = try await reply(request.uri.path, String(buffer: body))
      var response = Response(status: .init(code: status), body: .init(byteBuffer: .init(string: text)))
      if let retryAfter { response.headers[.retryAfter] = retryAfter }
      return response
    }
  }

  deinit { task.cancel() }
}

/// Asks a server here as the judge does. Tests wait for each other, so that an answer may take long.
func judgeClient(_ port: Int, key: String? = nil) -> PixtralConformance.HTTPClient {
  .init("http://127.0.0.1:\(port)", key: key, timeout: 3600)
}
