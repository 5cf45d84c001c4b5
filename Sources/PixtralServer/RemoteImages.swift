import AsyncHTTPClient
import Foundation
import NIOCore
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
  /// The most bytes of an image, and how often one may be somewhere else.
  static let (limit, redirects) = (32 << 20, 5)
  /// How long one may take to come, redirects and all.
  static let patience = Duration.seconds(10)

  private let hosts: [RemoteHost]
  private let client: HTTPClient

  init(_ hosts: [RemoteHost]) {
    self.hosts = hosts
    var settings = HTTPClient.Configuration()
    settings.dnsOverride = Dictionary(hosts.map { ($0.name, $0.address) }) { first, _ in first }
    settings.redirectConfiguration = .disallow
    client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings)
  }

  /// To be called once, at the end.
  func shutdown() async throws { try await client.shutdown() }

  /// What the remote images of a request hold, or with which exception of Python's requests each fails.
  ///
  /// - held: counts their bytes.
  /// - Throws: `Refusal` if too much is held.
  func all(of request: ChatRequest, _ held: Memory.Share) async throws -> [String: Result<
    [UInt8], InputError
  >] {
    var images: [String: Result<[UInt8], InputError>] = [:]
    for case .image(let url) in request.messages.flatMap(\.content)
    where url.utf8.starts(with: "http".utf8) && images[url] == nil {
      do { images[url] = .success(try await image(url, held)) } catch let error as InputError {
        images[url] = .failure(error)
      }
    }
    return images
  }

  private func image(_ url: String, _ held: Memory.Share) async throws -> [UInt8] {
    @Sendable func refuse(_ expected: String, _ found: String, _ exception: String) -> InputError {
      InputError(
        .wrongRequest, shortened(url, to: 64), expected: expected, found: found, exception: exception)
    }
    let late = refuse("an image within \(Self.patience)", "none", "Timeout")
    return try await within(Self.patience, orThrow: late) {
      do {
        var place = try allowed(url, from: nil, refuse)
        for _ in 0...Self.redirects {
          var request = HTTPClientRequest(url: place.absoluteString)
          request.headers.add(name: "User-Agent", value: "pixtral-ref")
          let response = try await client.execute(request, timeout: .seconds(10))
          switch response.status.code {
          case 200:
            var bytes: [UInt8] = []
            for try await part in response.body {
              guard bytes.count + part.readableBytes <= Self.limit else {
                throw refuse("an image of at most \(Self.limit) bytes", "more", "ConnectionError")
              }
              try held.add(part.readableBytes)
              bytes += part.readableBytesView
            }
            return bytes
          case 301, 302, 303, 307, 308:
            guard let next = response.headers.first(name: "Location") else {
              throw refuse("an image", "a redirect to nowhere", "ImageDecodeException")
            }
            place = try allowed(next, from: place, refuse)
          case let status: throw refuse("an image", "status \(status)", "HTTPError")
          }
        }
        throw refuse("at most \(Self.redirects) redirects", "more", "TooManyRedirects")
      } catch let error as HTTPClientError {
        throw refuse("an image", error.shortDescription, "ConnectionError")
      } catch  where !(error is InputError || error is Refusal || error is CancellationError) {
        throw refuse("an image", "\(error)", "ConnectionError")
      }
    }
  }

  /// The URL that a text names, if it leads to one of the hosts; put together anew from its parts, so that it
  /// means the same to whoever reads it next.
  ///
  /// - from: where a redirect came from.
  private func allowed(
    _ text: String, from base: URL?, _ refuse: (String, String, String) -> InputError
  ) throws -> URL {
    guard let given = URL(string: text, relativeTo: base)?.absoluteURL,
      var parts = URLComponents(url: given, resolvingAgainstBaseURL: true),
      let scheme = parts.scheme?.lowercased(), scheme == "http" || scheme == "https",
      let host = parts.host?.lowercased(), parts.user == nil, parts.password == nil,
      hosts.contains(where: { $0.answers(scheme, host, port: parts.port) })
    else {
      throw refuse(
        "an image of a host that --fetch names", base == nil ? "another" : "a redirect to \(shortened(text))",
        "ConnectionError")
    }
    (parts.scheme, parts.host, parts.fragment) = (scheme, host, nil)
    guard let url = parts.url else { throw refuse("a URL", "something else", "InvalidURL") }
    return url
  }
}
