import Hummingbird
import NIOCore
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralServer

@Suite("Remote images")
struct RemoteImagesTests {
  @Sendable private func redirect(to place: String) -> Response {
    Response(status: .found, headers: [.location: place])
  }

  /// What comes of a URL.
  private func fetch(
    _ url: String, from hosts: [String], patience: Duration = .seconds(3600)
  ) async throws -> Result<[UInt8], InputError> {
    let images = RemoteImages(try hosts.map { try RemoteHost($0) }, patience: patience)
    let chat = ChatRequest([.init(.user, [.image(url)])])
    let memory = Memory(limit: 1 << 28)
    let all = await Result { try await images.all(of: chat, Memory.Share(of: memory)) }
    try await images.shutdown()
    return try #require(try all.get()[url])
  }

  private func exception(_ result: Result<[UInt8], InputError>) -> String? {
    guard case .failure(let error) = result else { return nil }
    return error.exception
  }

  @Test("An image of a host that is named is fetched")
  func named() async throws {
    let host = try await OtherServer { _ in
      Response(status: .ok, body: .init(byteBuffer: .init(bytes: [1, 2, 3])))
    }
    let result = try await fetch("http://127.0.0.1:\(host.port)/a.png?b=c", from: ["127.0.0.1:\(host.port)"])
    #expect(try result.get() == [1, 2, 3])
  }

  @Test(
    "Whatever leads elsewhere is not asked",
    arguments: [
      "http://127.0.0.1:PORT/", "http://localhost:PORT/", "http://allowed@127.0.0.1:PORT/",
      "http://2130706433:PORT/", "http://0x7f000001:PORT/", "http://[::ffff:127.0.0.1]:PORT/",
      "http://127.1:PORT/", "http://127.0.0.1.:PORT/",
      "http://127.0.0.2:1@127.0.0.1:PORT/", "http://127.0.0.1:PORT#@127.0.0.2:1/",
      "http://127.0.0.1:PORT\\@127.0.0.2:1/",
    ])
  func elsewhere(url: String) async throws {
    let host = try await OtherServer { _ in Response(status: .ok) }
    let url = url.replacing("PORT", with: "\(host.port)")
    let result = try? await fetch(url, from: ["127.0.0.2:1"])
    #expect(result.map(exception) != .some(nil) && host.paths.isEmpty)
  }

  @Test("Without the port that is named, the usual ones are meant")
  func port() async throws {
    let host = try await OtherServer { _ in Response(status: .ok) }
    #expect(
      exception(try await fetch("http://127.0.0.1:\(host.port)/", from: ["127.0.0.1"])) == "ConnectionError")
    #expect(host.paths.isEmpty)
  }

  @Test("A redirect within the host is followed")
  func redirectWithin() async throws {
    let host = try await OtherServer { request in
      request.uri.path == "/a"
        ? redirect(to: "/b") : Response(status: .ok, body: .init(byteBuffer: .init(bytes: [7])))
    }
    let result = try await fetch("http://127.0.0.1:\(host.port)/a", from: ["127.0.0.1:\(host.port)"])
    #expect(try result.get() == [7] && host.paths == ["/a", "/b"])
  }

  @Test("A redirect elsewhere is not followed")
  func redirectElsewhere() async throws {
    let other = try await OtherServer { _ in Response(status: .ok) }
    for place in ["http://127.0.0.1:\(other.port)/", "//127.0.0.1:\(other.port)/", "file:///etc/passwd"] {
      let host = try await OtherServer { _ in redirect(to: place) }
      let result = try await fetch("http://127.0.0.1:\(host.port)/", from: ["127.0.0.1:\(host.port)"])
      #expect(exception(result) == "ConnectionError")
    }
    #expect(other.paths.isEmpty)
  }

  @Test("More than five redirects are not followed")
  func manyRedirects() async throws {
    let host = try await OtherServer { redirect(to: $0.uri.path + "x") }
    let result = try await fetch("http://127.0.0.1:\(host.port)/", from: ["127.0.0.1:\(host.port)"])
    #expect(exception(result) == "TooManyRedirects" && host.paths.count == 6)
  }

  @Test("Another status than 200 is an error of HTTP")
  func status() async throws {
    let host = try await OtherServer { _ in Response(status: .notFound) }
    let result = try await fetch("http://127.0.0.1:\(host.port)/", from: ["127.0.0.1:\(host.port)"])
    #expect(exception(result) == "HTTPError")
  }

  @Test("What does not come in time is not waited for")
  func late() async throws {
    let host = try await OtherServer { _ in
      Response(status: .ok, body: .init { _ in try await Task.sleep(for: .seconds(3600)) })
    }
    let result = try await fetch(
      "http://127.0.0.1:\(host.port)/", from: ["127.0.0.1:\(host.port)"], patience: .milliseconds(200))
    #expect(exception(result) == "Timeout")
  }

  @Test("A body without end is not read to it")
  func endless() async throws {
    let host = try await OtherServer { _ in
      Response(
        status: .ok,
        body: .init { writer in
          while true { try await writer.write(ByteBuffer(repeating: 0, count: 1 << 20)) }
        })
    }
    let result = try await fetch("http://127.0.0.1:\(host.port)/", from: ["127.0.0.1:\(host.port)"])
    #expect(exception(result) == "ConnectionError")
  }

  @Test("What more images hold than all may is refused")
  func memory() async throws {
    let host = try await OtherServer { _ in
      Response(status: .ok, body: .init(byteBuffer: .init(repeating: 0, count: 1000)))
    }
    let images = RemoteImages([try RemoteHost("127.0.0.1:\(host.port)")], patience: .seconds(3600))
    let chat = ChatRequest([.init(.user, [.image("http://127.0.0.1:\(host.port)/")])])
    let memory = Memory(limit: 999)
    await #expect(throws: Refusal.self) { try await images.all(of: chat, Memory.Share(of: memory)) }
    try await images.shutdown()
  }

  @Test(
    "A host is a name or an address, and perhaps a port",
    arguments: ["a b", "", "x@localhost", "localhost/a"])
  func wrongHost(text: String) {
    #expect(throws: InputError.self) { try RemoteHost(text) }
  }
}
