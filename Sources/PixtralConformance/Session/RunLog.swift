import Glibc
import PixtralReference
import PixtralStorage

/// The verdicts of a run as they come, a line each, so that a run that is interrupted can be resumed.
///
/// The first line says which runtime and which suite; what does not begin with the same is refused. A last line that
/// is not whole is left out. One run at a time has it. Each line has a hash of itself and of that before it, so that
/// none is changed, put in or taken out without being noticed.
package final class RunLog {
  /// What has been decided before, by the id of the case.
  package let done: [String: CaseVerdict]
  private let descriptor: Int32
  private let path: String
  /// The hash of the last line.
  private var last = ""
  /// Bytes; a run of the whole suite writes a few million.
  private static let largest = 1 << 26

  /// - Throws: `InputError` for a log of another run, or one that cannot be written.
  package init(_ path: String, _ runtime: RuntimeDescription, suite: String, cases: [ConformanceCase]) throws
  {
    self.path = path
    let header: JSON = [
      "log": "pixtral-ref conformance run", "runtime": .string(runtime.name),
      "version": .string(runtime.version),
      "arithmetic": .string(runtime.arithmetic.rawValue),
      // What it does not claim was not asked.
      "features": .array(runtime.features.sorted().map(JSON.string)), "suite": .string(suite),
    ]
    func refuse(_ found: String, _ advice: String = "") -> InputError {
      InputError(
        .unwritable, path, expected: "a file for the log of a run", found: found, advice: advice)
    }
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0o666)
    guard descriptor >= 0 else { throw refuse(systemMessage()) }
    // Where there are no locks, nobody can say whether another run has it.
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK else {
      throw refuse("one that another run writes", "wait for that to end, or give another file with --resume")
    }
    let file = try MappedFile(plain: path)
    guard file.bytes.count <= Self.largest else {
      throw refuse("one of \(file.bytes.count) bytes", "give another file with --resume")
    }
    let bytes = file.withBytes { Array($0) }
    let end = bytes.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    let lines = bytes[..<end].split(separator: UInt8(ascii: "\n"))
    // A file of something else stays as it is, whether it has lines or not.
    let isOwn =
      lines.first.map { String(decoding: $0, as: UTF8.self) == header.text() }
      ?? header.text().utf8.starts(with: bytes)
    if !isOwn {
      let first = bytes.prefix { $0 != UInt8(ascii: "\n") }.prefix(1_000)
      throw InputError(
        .wrongRequest, "\(path), line 1", expected: "the log of a run of this runtime and suite",
        found: shortened(String(decoding: first, as: UTF8.self), to: 120),
        advice: "give another file with --resume")
    }
    let byId = Dictionary(cases.map { ($0.id, $0) }) { first, _ in first }
    var done: [String: CaseVerdict] = [:]
    // So that lines of another runtime are none of this log's.
    var last = header.text()
    for (n, line) in lines.dropFirst().enumerated() {
      let json = try line.withUnsafeBytes {
        try JSON(parsing: $0, place: "\(path), line \(n + 2)", values: 1 << 16)
      }
      last = Self.hash(of: json, after: last)
      guard json["sha256"] == .string(last) else {
        throw InputError(
          .wrongRequest, "\(path), line \(n + 2)",
          expected: "the line that a run wrote behind the one before it",
          found: "another", advice: "give another file with --resume")
      }
      // Of a case that was not chosen now.
      guard case .string(let id)? = json["id"], let question = byId[id] else { continue }
      done[id] = CaseVerdict(question, json)
    }
    (self.done, self.last) = (done, last)
    // What was cut off is written over.
    guard ftruncate(descriptor, off_t(end)) == 0, lseek(descriptor, 0, SEEK_END) >= 0 else {
      throw refuse(systemMessage())
    }
    if lines.isEmpty { try write(header) }
  }

  deinit { close(descriptor) }

  package func append(_ verdict: CaseVerdict) throws {
    guard case .object(let members) = verdict.logged else { preconditionFailure("an object") }
    last = Self.hash(of: verdict.logged, after: last)
    try write(.object(members + [.init(key: "sha256", value: .string(last))]))
  }

  /// Of a line without its own hash.
  private static func hash(of json: JSON, after last: String) -> String {
    guard case .object(let members) = json else { return "" }
    let hash = SHA256()
    hash.update(Array(last.utf8))
    hash.update(Array(JSON.object(members.filter { $0.key != "sha256" }).text().utf8))
    return hash.hexDigest()
  }

  private func write(_ json: JSON) throws {
    let line = Array("\(json.text())\n".utf8)
    var sent = 0
    while sent < line.count {
      let count = line[sent...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress!, $0.count) }
      guard count > 0 || errno == EINTR else {
        throw InputError(.unwritable, path, expected: "room to write", found: systemMessage())
      }
      sent += max(0, count)
    }
  }
}

extension CaseVerdict {
  fileprivate var logged: JSON {
    [
      "id": .string(id), "verdict": .string(verdict.rawValue), "tap": tap.map(JSON.string) ?? .null,
      "distance": number(distance), "limit": number(limit), "detail": detail.map(JSON.string) ?? .null,
      "explaining": .object(
        explaining.sorted { $0.key < $1.key }.map { .init(key: $0.key, value: .bool($0.value)) }),
      "may_explain": .array(mayExplain.sorted().map(JSON.string)),
    ]
  }

  /// - Returns: nil for what says no verdict.
  fileprivate init?(_ question: ConformanceCase, _ json: JSON) {
    guard let verdict = Verdict(rawValue: json["verdict"]?.plainText ?? "") else { return nil }
    func text(_ key: String) -> String? { if case .string(let text)? = json[key] { text } else { nil } }
    func value(_ key: String) -> Double? {
      switch json[key] {
      case .number(let value)?: value
      case .integer(let value)?: Double(value)
      case .string(let text)?: Double(text)
      default: nil
      }
    }
    self.init(
      question, verdict, text("detail"), tap: text("tap"), distance: value("distance"), limit: value("limit"))
    if case .array(let names)? = json["may_explain"] { mayExplain = Set(names.map(\.plainText)) }
    guard case .object(let members)? = json["explaining"] else { return }
    for member in members { explaining[member.key] = member.value == .bool(true) }
  }
}
