import CCurl
import Glibc
import PixtralStorage

/// Who answers requests over HTTP: a server, or the file of what one has said.
package protocol Transport: AnyObject {
  /// Why the verdict is about no server: a file of ours that cannot be written, or lacks what is asked.
  var failure: InputError? { get }
  func get(_ path: String) throws(NoReply) -> Reply
  /// - body: JSON text.
  func post(_ path: String, _ body: [UInt8]) throws(NoReply) -> Reply
}

/// What came.
package struct Reply: Sendable {
  package let status: Int
  package let body: [UInt8]

  package init(status: Int, body: [UInt8]) { (self.status, self.body) = (status, body) }

  /// The most values: as a tree they take thirty times their memory.
  private static let mostValues = 1 << 18

  /// - place: the path, for errors.
  /// - Throws: `InputError` for what is no JSON text.
  func json(_ place: String) throws -> JSON {
    try JSON(
      parsing: String(decoding: body, as: UTF8.self), place: place, values: Self.mostValues,
      roundsIntegers: true)
  }
}

/// Why nothing came.
package enum NoReply: Error, CustomStringConvertible {
  case timedOut
  /// In curl's words.
  case broken(String)

  package var description: String {
    switch self {
    case .timedOut: "no answer in time"
    case .broken(let how): how
    }
  }
}

/// Asks a server over HTTP, one question after another on one connection, by libcurl. A server that is busy or not
/// ready, status 429 or 503, is asked again.
package final class HTTPClient: Transport {
  /// curl's.
  private let handle: UnsafeMutableRawPointer
  private let address: String
  private let headers: UnsafeMutablePointer<curl_slist>?
  /// The bytes of a key that no answer keeps; a short one is no secret, and may be a word of every answer.
  private let secret: [UInt8]
  package let failure: InputError? = nil

  /// The most bytes of an answer.
  private static let limit = 8 << 20
  private static let shortestSecret = 12
  /// How often a busy server is asked again.
  private static let repeats = 4
  /// Seconds that are left for waiting until one is not.
  private var patience = 60

  /// - address: what stands in front of every path, such as `http://127.0.0.1:8000`.
  /// - key: sent as `Authorization: Bearer KEY`.
  /// - timeout: seconds that an answer may take, a thousandth at least.
  package init(_ address: String, key: String?, timeout: Double) {
    curl_global_init(Int(CURL_GLOBAL_DEFAULT))
    handle = curl_easy_init()!
    self.address = address
    secret = key.map { $0.utf8.count >= Self.shortestSecret ? Array($0.utf8) : [] } ?? []
    var headers = curl_slist_append(nil, "Content-Type: application/json")
    // Without it libcurl waits a second before it sends a large body.
    headers = curl_slist_append(headers, "Expect:")
    if let key { headers = curl_slist_append(headers, "Authorization: Bearer \(key)") }
    self.headers = headers
    // 0 would be no limit.
    set(CURLOPT_TIMEOUT_MS, max(1, Int(timeout * 1000)))
    // Threads have no signals to themselves.
    set(CURLOPT_NOSIGNAL, 1)
    _ = "http,https".withCString { curl_set_pointer(handle, CURLOPT_PROTOCOLS_STR, $0) }
    curl_set_pointer(handle, CURLOPT_HTTPHEADER, headers)
  }

  deinit {
    curl_slist_free_all(headers)
    curl_easy_cleanup(handle)
  }

  private func set(_ option: CURLoption, _ value: Int) { curl_set_number(handle, option, value) }

  package func get(_ path: String) throws(NoReply) -> Reply {
    set(CURLOPT_HTTPGET, 1)
    return try perform(path)
  }

  package func post(_ path: String, _ body: [UInt8]) throws(NoReply) -> Reply {
    set(CURLOPT_POST, 1)
    set(CURLOPT_POSTFIELDSIZE, body.count)
    return try body.withUnsafeBufferPointer { bytes throws(NoReply) in
      curl_set_pointer(handle, CURLOPT_POSTFIELDS, bytes.baseAddress)
      return try perform(path)
    }
  }

  private final class Taker {
    var bytes: [UInt8] = []
  }

  private func perform(_ path: String) throws(NoReply) -> Reply {
    for pause in 0..<Self.repeats {
      let reply = try performOnce(path)
      guard [429, 503].contains(reply.status) else { return reply }
      var wanted = 0
      curl_get_retry_after(handle, &wanted)
      let seconds = wanted > 0 ? wanted : 1 << pause
      guard seconds <= patience else { return reply }
      patience -= seconds
      sleep(UInt32(seconds))
    }
    return try performOnce(path)
  }

  private func performOnce(_ path: String) throws(NoReply) -> Reply {
    _ = (address + path).withCString { curl_set_pointer(handle, CURLOPT_URL, $0) }
    let taker = Taker()
    curl_set_taker(
      handle,
      { bytes, size, count, taker in
        let taker = Unmanaged<Taker>.fromOpaque(taker!).takeUnretainedValue()
        guard let bytes, taker.bytes.count + size * count <= HTTPClient.limit else { return 0 }
        taker.bytes += UnsafeRawBufferPointer(start: bytes, count: size * count)
        return size * count
      }, Unmanaged.passUnretained(taker).toOpaque())
    var code = withExtendedLifetime(taker) { curl_easy_perform(handle) }
    // A connection that the server has closed meanwhile is found out by using it.
    if [CURLE_SEND_ERROR, CURLE_RECV_ERROR, CURLE_GOT_NOTHING].contains(code), taker.bytes.isEmpty {
      code = withExtendedLifetime(taker) { curl_easy_perform(handle) }
    }
    guard code == CURLE_OK else {
      guard code != CURLE_OPERATION_TIMEDOUT else { throw .timedOut }
      let why =
        code == CURLE_WRITE_ERROR
        ? "an answer of more than \(Self.limit >> 20) MiB" : String(cString: curl_easy_strerror(code))
      throw .broken("\(path): \(why)")
    }
    var status = 0
    curl_get_status(handle, &status)
    return Reply(status: status, body: withoutSecret(taker.bytes))
  }

  /// What came, without a key that a server says back.
  private func withoutSecret(_ bytes: [UInt8]) -> [UInt8] {
    guard !secret.isEmpty, bytes.count >= secret.count else { return bytes }
    let isThere = bytes.indices.dropLast(secret.count - 1).contains { at in
      bytes[at] == secret[0] && bytes[at..<at + secret.count].elementsEqual(secret)
    }
    guard isThere else { return bytes }
    return Array(bytes[...].replacing(secret, with: Array("KEY".utf8)))
  }
}
