import Foundation
import PixtralReference
import PixtralStorage
import PixtralText
import Testing

/// The suites below Fixtures/cases, as Docs/Cases.md describes them: `NAME.json` has what the cases share, and
/// `NAME.jsonl` a line a case, or `NAME.csv` a row a case.
///
/// Read with Python's rules: a request may hold what Swift's strings and integers cannot.
package func suite(_ name: String) throws -> [Case] {
  let path = "\(fixtures)/cases/\(name)"
  guard case .dictionary(let shared)? = try value(of: "\(path).json")["shared"] else {
    throw MalformedSuite(path: "\(path).json", found: "no object shared")
  }
  let isTable = FileManager.default.fileExists(atPath: "\(path).csv")
  let cases =
    isTable ? try rows(of: "\(path).csv", laidOver: shared) : try lines(of: "\(path).jsonl", laidOver: shared)
  guard !cases.isEmpty else { throw MalformedSuite(path: path, found: "no cases") }
  return cases.map(Case.init)
}

package struct MalformedSuite: Error, CustomStringConvertible {
  let path: String
  let found: String

  package var description: String { "\(path): \(found)" }
}

/// One case of Fixtures/cases.
package struct Case: CustomStringConvertible {
  package let value: PythonValue

  package var id: String { value["id"]?.text ?? "" }
  package var title: String { value["title"]?.text ?? "" }
  package var inputs: PythonValue { value["inputs"] ?? .none }
  package var expect: PythonValue { value["expect"] ?? .none }
  package var description: String { "\(id): \(title)" }

  /// The same for readers that want JSON, where nothing in it is Python's alone.
  package var json: JSON {
    get throws {
      var bytes: [UInt8] = []
      value.write(to: &bytes, compact: true)
      return try bytes.withUnsafeBytes { try JSON(parsing: $0, place: id) }
    }
  }

  /// What a release gives: that of the range it falls into, which has an expectation of its own if it differs
  /// from the newest release's.
  package func expected(in release: Release) -> PythonValue {
    let range = value["releases"]?.list?.first { range in
      guard let from = range["from"]?.text.flatMap(Release.init),
        let to = range["to"]?.text.flatMap(Release.init)
      else { return false }
      return from <= release && release <= to
    }
    return range?["expect"] ?? expect
  }
}

/// Expects nothing wrong with any case; otherwise names the first ten, and what each throws.
///
/// - fault: what is wrong with the answer to a case; nil if nothing is.
package func expectRight(
  _ cases: [Case], _ location: SourceLocation = #_sourceLocation, _ fault: (Case) throws -> String?
) {
  let wrong = cases.compactMap { entry -> String? in
    do { return try fault(entry).map { "\(entry): \($0)" } } catch { return "\(entry): \(error)" }
  }
  expectNone(wrong, of: cases.count, location)
}

extension Case {
  /// The tensor that is expected, from the file beside the suite.
  package func expectedValues(in folder: String) throws -> [Float] {
    let file = try Safetensors("\(fixtures)/cases/\(folder)/\(expect["file"]?.text ?? "")")
    let tensor = file.tensors.first { $0.name == expect["tensor"]?.text }
    guard let tensor else { throw MalformedSuite(path: id, found: "no tensor \(expect["tensor"] ?? .none)") }
    return try StoredTensor(tensor, of: file.file).vector()
  }

  /// The file that a case of images holds.
  package var file: [UInt8] { get throws { try json["inputs"]?.bytes("base64") ?? [] } }
}

extension PythonValue {
  package var text: String? { if case .string(let value) = self { value.text } else { nil } }
  package var list: [PythonValue]? { if case .list(let values) = self { values } else { nil } }
  package var number: Int? { if case .integer(let digits) = self { Int(digits) } else { nil } }
  /// Of a list of integers; nil for anything else.
  package var numbers: [Int]? {
    guard let numbers = list?.map(\.number), !numbers.contains(nil) else { return nil }
    return numbers.compactMap(\.self)
  }
}

private func value(of path: String) throws -> PythonValue {
  try MappedFile(path).withBytes { try PythonValue(json: $0, place: path) }
}

private func lines(of path: String, laidOver shared: [PythonValue.Member]) throws -> [PythonValue] {
  try MappedFile(path).withBytes { bytes in
    try bytes.split(separator: UInt8(ascii: "\n")).enumerated().map { n, line in
      let place = "\(path), line \(n + 1)"
      let own = try PythonValue(json: UnsafeRawBufferPointer(rebasing: line), place: place)
      guard case .dictionary(let members) = own else {
        throw MalformedSuite(path: place, found: own.kindName)
      }
      return .dictionary(shared.filter { own[$0.key.text] == nil } + members)
    }
  }
}

private func rows(of path: String, laidOver shared: [PythonValue.Member]) throws -> [PythonValue] {
  let table = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map {
    $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
  }
  let header = table.first ?? []
  return try table.dropFirst().enumerated().map { n, row in
    let place = "\(path), row \(n + 1)"
    guard row.count == header.count else {
      throw MalformedSuite(path: place, found: "\(row.count) cells for \(header.count) columns")
    }
    let cells = Dictionary(zip(header, row)) { $1 }
    for (column, cell) in cells where !lists.contains(column) && column != "since" && Int(cell) == nil {
      throw MalformedSuite(path: place, found: "'\(cell)' for the number \(column)")
    }
    return .dictionary(
      shared.map { member in
        let key = member.key.text
        guard lists.contains(key) || key == "since", let cell = cells[key], !cell.isEmpty else {
          return PythonValue.Member(key: member.key, value: member.value.filled(from: cells))
        }
        let words = cell.split(separator: " ").map { PythonValue.string(PythonString(String($0))) }
        let value = key == "since" ? .string(PythonString(cell)) : PythonValue.list(words)
        return PythonValue.Member(key: member.key, value: value)
      })
  }
}

private let lists: Set = ["exposes", "conflicts_with"]

extension PythonValue {
  /// With the cells of a row in the place of `{column}`; a string that is nothing else becomes the integer.
  fileprivate func filled(from cells: [String: String]) -> PythonValue {
    switch self {
    case .string(let string):
      if string.text.hasPrefix("{"), string.text.hasSuffix("}"),
        let cell = cells[String(string.text.dropFirst().dropLast())]
      {
        return .integer(cell)
      }
      let text = cells.reduce(string.text) { $0.replacing("{\($1.key)}", with: $1.value) }
      return .string(PythonString(text))
    case .list(let values): return .list(values.map { $0.filled(from: cells) })
    case .dictionary(let members):
      return .dictionary(
        members.map { PythonValue.Member(key: $0.key, value: $0.value.filled(from: cells)) })
    default: return self
    }
  }
}
