import AsyncHTTPClient
import Foundation
import NIOCore
import NIOSSL
import PixtralStorage
import PixtralText

/// A host that images may be fetched from. Its address is looked up once, when the server starts: no name
/// leads to another address later.
package struct RemoteHost: Sendable {
  /// In lower case.
  let name: String
  /// nil for those of http and https.
  let port: Int?
  /// Where requests go.
  let address: String

  /// - text: `HOST` or `HOST:PORT`; an address of IPv6 stands in brackets.
  /// - Throws: `InputError` of kind `wrongArgument` for another text, or a name without an address.
  package init(_ text: String) throws {
    func refuse(_ expected: String, _ found: String) -> InputError {
      InputError(.wrongArgument, "--fetch \(text)", expected: expected, found: found)
    }
    guard let parts = URLComponents(string: "http://\(text)"), let host = parts.host, !host.isEmpty,
      parts.path.isEmpty, parts.query == nil, parts.fragment == nil, parts.user == nil
    else { throw refuse("HOST or HOST:PORT", "something else") }
    name = host.lowercased()
    port = parts.port
    do {
      let plain = name.filter { $0 != "[" && $0 != "]" }
      guard let address = try SocketAddress.makeAddressResolvingHost(plain, port: port ?? 80).ipAddress else {
        throw refuse("a host with an address", "none")
      }
      self.address = address
    } catch { throw refuse("a host with an address", "none") }
  }

  /// - scheme: in lower case.
  fileprivate func answers(_ scheme: String, _ host: String, port given: Int?) -> Bool {
    guard host == name else { return false }
    let usual = scheme == "https" ? 443 : 80
    return (given ?? usual) == (port ?? usual)
  }
}

/// Fetches the remote images of requests: from hosts that were named, and from no other address.
struct RemoteImages: Sendable {
  /// The most bytes of an image, how often one may be somewhere else, and how many a request may have.
  static let (limit, redirects, count) = (32 << 20, 5, 64)

  private let hosts: [RemoteHost]
  private let patience: Duration
  private let client: HTTPClient

  /// - patience: how long all images of a request may take to come, redirects and all.
  init(_ hosts: [RemoteHost], patience: Duration) {
    (self.hosts, self.patience) = (hosts, patience)
    var settings = HTTPClient.Configuration()
    settings.dnsOverride = Dictionary(hosts.map { ($0.name, $0.address) }) { first, _ in first }
    settings.redirectConfiguration = .disallow
    settings.connectionPool.retryConnectionEstablishment = false
    client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings)
  }

  /// To be called once, at the end.
  func shutdown() async throws { try await client.shutdown() }

  /// What the remote images of a request hold, or with which exception of Python's requests each fails.
  ///
  /// - held: counts their bytes.
  /// - Throws: `Refusal` if too much is held, or for too many images.
  func all(
    of request: ChatRequest, _ held: Memory.Share
  ) async throws -> [String: Result<[UInt8], InputError>] {
    let urls = Set(
      request.messages.flatMap(\.content).compactMap { chunk in
        guard case .image(let url) = chunk, url.utf8.starts(with: "http".utf8) else { return nil }
        return url
      } as [String])
    guard urls.count <= Self.count else {
      throw Refusal.wrong("messages", expected: "at most \(Self.count) remote images", found: "\(urls.count)")
    }
    let end = ContinuousClock.now + patience
    var images: [String: Result<[UInt8], InputError>] = [:]
    for url in urls {
      do { images[url] = .success(try await image(url, until: end, held)) } catch let error as InputError {
        images[url] = .failure(error)
      }
    }
    return images
  }

  private func image(
    _ url: String, until end: ContinuousClock.Instant, _ held: Memory.Share
  ) async throws -> [UInt8] {
    let fault = Fault(url: url)
    return try await within(
      ContinuousClock.now.duration(to: end), orThrow: fault("an image in time", "none", "Timeout")
    ) {
      var place = try allowed(url, from: nil, fault)
      for _ in 0...Self.redirects {
        let response: HTTPClientResponse
        do {
          var request = HTTPClientRequest(url: place.absoluteString)
          request.headers.add(name: "User-Agent", value: "pixtral-ref")
          // A connection that is kept may be closed just when it is used again.
          request.headers.add(name: "Connection", value: "close")
          // The deadline that counts is the one above; this one comes later.
          response = try await client.execute(request, timeout: TimeAmount(patience) + .seconds(5))
        } catch let error where error is NIOSSLError || error is NIOSSLExtraError || error is BoringSSLError {
          throw fault("a certificate that this machine trusts", "none, or no TLS", "SSLError")
        } catch let error where !(error is CancellationError) {
          throw fault("an answer", "a connection that failed", "ConnectionError")
        }
        switch response.status.code {
        case 200: return try await read(response, held, fault)
        case 301, 302, 303, 307, 308:
          guard let next = response.headers.first(name: "Location") else {
            throw fault("an image", "a redirect to nowhere", "ImageDecodeException")
          }
          place = try allowed(next, from: place, fault)
        case let status: throw fault("an image", "status \(status)", "HTTPError")
        }
      }
      throw fault("at most \(Self.redirects) redirects", "more", "TooManyRedirects")
    }
  }

  private func read(
    _ response: HTTPClientResponse, _ held: Memory.Share, _ fault: Fault
  ) async throws -> [UInt8] {
    let tooLarge = fault("an image of at most \(Self.limit) bytes", "more", "ConnectionError")
    let length = response.headers.first(name: "Content-Length").flatMap { Int($0) }
    guard length ?? 0 <= Self.limit else { throw tooLarge }
    var bytes: [UInt8] = []
    do {
      for try await part in response.body {
        guard bytes.count + part.readableBytes <= Self.limit else { throw tooLarge }
        try held.add(part.readableBytes)
        bytes += part.readableBytesView
      }
    } catch let error where !(error is InputError || error is Refusal || error is CancellationError) {
      throw fault("all of an image", "a part of it", "ConnectionError")
    }
    return bytes
  }

  /// What an image is refused with.
  private struct Fault: Sendable {
    let url: String

    func callAsFunction(_ expected: String, _ found: String, _ exception: String) -> InputError {
      InputError(
        .wrongRequest, shortened(url, to: 64), expected: expected, found: found, exception: exception)
    }
  }

  /// The URL that a text names, if it leads to one of the hosts; put together anew from its parts, so that it
  /// means the same to whoever reads it next.
  ///
  /// - from: where a redirect came from.
  private func allowed(
    _ text: String, from base: URL?, _ fault: Fault
  ) throws -> URL {
    guard let given = URL(string: text, relativeTo: base)?.absoluteURL,
      var parts = URLComponents(url: given, resolvingAgainstBaseURL: true),
      let scheme = parts.scheme?.lowercased(), scheme == "http" || scheme == "https",
      let host = parts.host?.lowercased(), parts.user == nil, parts.password == nil,
      hosts.contains(where: { $0.answers(scheme, host, port: parts.port) })
    else {
      throw fault(
        "an image of a host that --fetch names", base == nil ? "another" : "a redirect to \(shortened(text))",
        "ConnectionError")
    }
    (parts.scheme, parts.host, parts.fragment) = (scheme, host, nil)
    guard let url = parts.url else { throw fault("a URL", "something else", "InvalidURL") }
    return url
  }
}
