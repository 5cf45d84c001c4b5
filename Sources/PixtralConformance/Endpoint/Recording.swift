import PixtralStorage

/// Writes down all that a server is asked and says, a line of JSON each: what is declared of it, and then `method`,
/// `path`, `sent`, `status` (0 where nothing came), and `body`, or `base64` where that is no UTF-8. A key is not in
/// it. The file is there when the run is over, so that its verdict can be reached again without the server.
package final class Recorder: Transport {
  private let server: any Transport
  private let file: NewFile
  private var unwritten: InputError?
  package var failure: InputError? { unwritten ?? server.failure }

  /// - file: a new file, which is put in its place by `finish`.
  package init(_ server: any Transport, _ declared: Declared = Declared(), to file: NewFile) throws {
    (self.server, self.file) = (server, file)
    try file.write(Array("\(declared.json.text())\n".utf8))
  }

  package func get(_ path: String) throws(NoReply) -> Reply {
    try kept("GET", path, []) { () throws(NoReply) in try server.get(path) }
  }

  package func post(_ path: String, _ body: [UInt8]) throws(NoReply) -> Reply {
    try kept("POST", path, body) { () throws(NoReply) in try server.post(path, body) }
  }

  package func finish() throws { try file.finish() }

  private func kept(_ method: String, _ path: String, _ sent: [UInt8], _ ask: () throws(NoReply) -> Reply)
    throws(NoReply) -> Reply
  {
    var members: [JSON.Member] = [
      .init(key: "method", value: .string(method)), .init(key: "path", value: .string(path)),
      .init(key: "sent", value: .string(String(decoding: sent, as: UTF8.self))),
    ]
    func keep(_ more: [(String, JSON)]) throws(NoReply) {
      members += more.map { JSON.Member(key: $0.0, value: $0.1) }
      do {
        if let unwritten { throw unwritten }
        try file.write(Array("\(JSON.object(members).text())\n".utf8))
      } catch {
        unwritten =
          error as? InputError
          ?? InputError(.unwritable, "--bodies", expected: "a file that can be written", found: "\(error)")
        throw .broken("the recording cannot be written: \(error)")
      }
    }
    do throws(NoReply) {
      let reply = try ask()
      let isText = reply.body.withUnsafeBytes(isUTF8)
      try keep([
        ("status", .integer(reply.status)),
        isText
          ? ("body", .string(String(decoding: reply.body, as: UTF8.self)))
          : ("base64", .string(base64(reply.body))),
      ])
      return reply
    } catch {
      try keep([("status", .integer(0)), ("body", .string(error.description))])
      throw error
    }
  }
}

/// Answers as a server did whose replies a `Recorder` has kept: a request that came several times has its replies in
/// their order.
package final class Replay: Transport {
  private struct Question: Hashable {
    let method, path, sent: String
  }

  private var replies: [Question: [Result<Reply, NoReply>]] = [:]
  private let path: String
  /// What was declared of the server.
  package private(set) var declared = Declared()
  package private(set) var failure: InputError?

  /// The most bytes of a file, and values of a line.
  private static let (longest, mostValues) = (64 << 20, 1 << 10)

  /// - Throws: `InputError` for what is no recording.
  package init(_ path: String) throws {
    self.path = path
    let size = try MappedFile(plain: path).bytes.count
    guard size <= Self.longest else {
      throw InputError(
        .wrongRequest, path, expected: "a recording of at most \(Self.longest >> 20) MiB",
        found: "\(size) bytes")
    }
    for (place, json) in try jsonLines(path, values: Self.mostValues) {
      if let declared = try Declared(json, place: place) {
        self.declared = declared
        continue
      }
      guard case .string(let method)? = json["method"], case .string(let path)? = json["path"],
        case .string(let sent)? = json["sent"], case .integer(let status)? = json["status"],
        let body = Self.body(json)
      else {
        throw InputError(
          .wrongRequest, place,
          expected: "an exchange with a server: method, path, sent, status, body or base64",
          found: shortened(json.text(), to: 80), advice: "conformance run --bodies writes such a file")
      }
      let reply: Result<Reply, NoReply> =
        status > 0
        ? .success(Reply(status: status, body: body))
        : .failure(Self.noReply(String(decoding: body, as: UTF8.self)))
      replies[Question(method: method, path: path, sent: sent), default: []].append(reply)
    }
  }

  private static func noReply(_ why: String) -> NoReply {
    why == NoReply.timedOut.description ? .timedOut : .broken(why)
  }

  private static func body(_ json: JSON) -> [UInt8]? {
    if case .string(let text)? = json["body"] { return Array(text.utf8) }
    if case .string(let text)? = json["base64"] { return PixtralConformance.base64(text) }
    return nil
  }

  package func get(_ path: String) throws(NoReply) -> Reply { try next("GET", path, []) }

  package func post(_ path: String, _ body: [UInt8]) throws(NoReply) -> Reply { try next("POST", path, body) }

  private func next(_ method: String, _ path: String, _ sent: [UInt8]) throws(NoReply) -> Reply {
    let question = Question(method: method, path: path, sent: String(decoding: sent, as: UTF8.self))
    guard let first = replies[question]?.first else {
      failure =
        failure
        ?? InputError(
          .wrongRequest, self.path,
          expected: "an answer to \(method) \(path) with \(shortened(question.sent, to: 80))",
          found: "none, or no other one",
          advice:
            "a recording answers the cases and the options that it was made with, such as --stage endpoint")
      throw .broken("not in the recording")
    }
    replies[question]!.removeFirst()
    return try first.get()
  }
}
