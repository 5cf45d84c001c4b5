import Glibc
import PixtralStorage
import PixtralText

/// The cases below a folder such as `Fixtures/cases`: one in each folder that has a `case.json`, and
/// many of one kind in a suite, `NAME.json` with `NAME.jsonl` or `NAME.csv`. Cases.md says how.
package struct CaseFiles {
  /// In the order of their stages, of what comes first in a stage, and of their paths.
  package let cases: [ConformanceCase]

  /// - Throws: `InputError` for a folder without cases, and for what is none.
  package init(_ root: String) throws {
    var cases: [ConformanceCase] = []
    // A runtime has a folder of its own: the paths that it gets must lead anywhere.
    for path in try files(below: absolute(root)) {
      let folder = PixtralStorage.folder(of: path)
      switch fileName(of: path) {
      case "case.json": cases.append(try Self.single(path, folder))
      case let name where name.hasSuffix(".jsonl"): cases += try Self.lines(path, folder)
      case let name where name.hasSuffix(".csv"): cases += try Self.table(path, folder)
      default: break
      }
    }
    guard !cases.isEmpty else {
      throw InputError(
        .unreadableFile, root, expected: "a folder with cases", found: "none",
        advice: "give Fixtures/cases of a checkout with --fixtures")
    }
    let order = Dictionary(uniqueKeysWithValues: Stage.allCases.enumerated().map { ($1, $0) })
    // Keys are made once a case, not once a comparison.
    let keys = cases.enumerated().map { n, question in
      (order[question.stage]!, Self.topic(question), question.isMinor ? 1 : 0, n)
    }
    self.cases = keys.sorted(by: <).map { cases[$0.3] }
  }

  /// Texts before the requests that hold them, small models before large ones, and of each what shows a rule
  /// before what is drawn at random: what is wrong first is then the plainest that is wrong.
  private static let topics = [
    "text", "decode", "request", "openai", "fim", "truncation", "tiny", "small", "large",
  ]

  private static func topic(_ question: ConformanceCase) -> Int {
    let parts = question.id.split(separator: "/")
    return parts.count > 1 ? topics.firstIndex(of: String(parts[1])) ?? 0 : 0
  }

  /// One case from its `case.json`.
  package static func single(_ path: String) throws -> ConformanceCase {
    try single(absolute(path), PixtralStorage.folder(of: absolute(path)))
  }

  private static func single(_ path: String, _ folder: String) throws -> ConformanceCase {
    try MappedFile(plain: path).withBytes { bytes in
      try ConformanceCase(
        PythonValue(json: bytes, place: path), request: nil, written: Array(bytes), folder: folder,
        file: path,
        place: path)
    }
  }

  /// The keys that the cases of a suite share.
  private static func shared(_ path: String, ending: String) throws -> [PythonValue.Member] {
    let path = "\(path.dropLast(ending.count))json"
    let json = try MappedFile(plain: path).withBytes { try PythonValue(json: $0, place: path) }
    guard case .dictionary(let shared)? = json["shared"] else {
      throw InputError(
        .wrongRequest, "\(path), shared", expected: "an object", found: json["shared"]?.kindName ?? "nothing")
    }
    return shared
  }

  private static func lines(_ path: String, _ folder: String) throws -> [ConformanceCase] {
    let shared = try shared(path, ending: "jsonl")
    return try MappedFile(plain: path).withBytes { bytes in
      try bytes.split(separator: UInt8(ascii: "\n")).enumerated().map { n, line in
        let line = UnsafeRawBufferPointer(rebasing: line)
        let place = "\(path), line \(n + 1)"
        let (value, range) = try PythonValue.locating(["inputs", "request"], in: line, place: place)
        return try ConformanceCase(
          laid(value, over: shared), request: range.map { Array(line[$0]) }, written: Array(line),
          folder: folder, file: path, place: place)
      }
    }
  }

  /// Each row fills the placeholders of what is shared, or takes the place of a key.
  private static func table(_ path: String, _ folder: String) throws -> [ConformanceCase] {
    let shared = PythonValue.dictionary(try shared(path, ending: "csv"))
    let text = try MappedFile(plain: path).withBytes { String(decoding: $0, as: UTF8.self) }
    let rows = text.split(separator: "\n").map { $0.split(separator: ",", omittingEmptySubsequences: false) }
    guard let columns = rows.first else { return [] }
    return try rows.dropFirst().enumerated().map { n, row in
      let place = "\(path), row \(n + 2)"
      guard row.count == columns.count else {
        throw InputError(
          .wrongRequest, place, expected: "\(columns.count) cells", found: "\(row.count)")
      }
      var numbers: [(String, String)] = []
      var keys: [PythonValue.Member] = []
      for (column, cell) in zip(columns, row) {
        switch column {
        case "exposes", "conflicts_with":
          let words = cell.split(separator: " ").map { PythonValue.string(PythonString(String($0))) }
          if !words.isEmpty { keys.append(.init(key: PythonString(String(column)), value: .list(words))) }
        case "since":
          if !cell.isEmpty {
            keys.append(.init(key: "since", value: .string(PythonString(String(cell)))))
          }
        default: numbers.append(("{\(column)}", String(cell)))
        }
      }
      guard case .dictionary(let filled) = filled(shared, numbers) else { preconditionFailure("an object") }
      return try ConformanceCase(
        laid(.dictionary(keys), over: filled), request: nil,
        written: Array(row.joined(separator: ",").utf8), folder: folder, file: path, place: place)
    }
  }

  private static func laid(_ value: PythonValue, over shared: [PythonValue.Member]) -> PythonValue {
    guard case .dictionary(let own) = value else { return value }
    return .dictionary(shared.filter { member in !own.contains { $0.key == member.key } } + own)
  }

  /// The value with numbers in its strings; a string that is nothing but a placeholder becomes the
  /// number.
  private static func filled(_ value: PythonValue, _ numbers: [(String, String)]) -> PythonValue {
    switch value {
    case .dictionary(let members):
      return .dictionary(members.map { .init(key: $0.key, value: filled($0.value, numbers)) })
    case .list(let values): return .list(values.map { filled($0, numbers) })
    case .string(let string):
      if let number = numbers.first(where: { $0.0 == string.text }) { return .integer(number.1) }
      guard string.text.utf8.contains(UInt8(ascii: "{")) else { return value }
      return .string(PythonString(numbers.reduce(string.text) { $0.replacing($1.0, with: $1.1) }))
    default: return value
    }
  }
}

extension PythonString: ExpressibleByStringLiteral {
  package init(stringLiteral value: String) { self.init(value) }
}

func absolute(_ path: String) -> String {
  guard let whole = realpath(path, nil) else { return path }
  defer { free(whole) }
  return String(cString: whole)
}

/// The values of a file that has one a line, with the place of each.
///
/// - values: the most of them in a line.
func jsonLines(_ path: String, values: Int = .max) throws -> [(place: String, json: JSON)] {
  try MappedFile(plain: path).withBytes { bytes in
    try bytes.split(separator: UInt8(ascii: "\n")).enumerated().map { n, line in
      let place = "\(path), line \(n + 1)"
      return (place, try JSON(parsing: UnsafeRawBufferPointer(rebasing: line), place: place, values: values))
    }
  }
}

/// Every plain file below a folder, in the order of the paths.
func files(below root: String) throws -> [String] {
  guard let names = fileNames(in: root) else {
    throw InputError(.unreadableFile, root, expected: "a folder with cases", found: systemMessage())
  }
  return try names.flatMap { name in
    let path = "\(root)/\(name)"
    return isFolder(path) ? try files(below: path) : [path]
  }
}
