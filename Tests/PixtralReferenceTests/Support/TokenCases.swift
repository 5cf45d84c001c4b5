import Foundation
import Testing

@testable import PixtralReference

/// A case of the tokens suites, read with Python's rules: a request may hold what Swift's strings and integers cannot.
struct TokenCase: CustomTestStringConvertible {
  let value: PythonValue

  var id: String { value["id"]?.text ?? "" }
  var title: String { value["title"]?.text ?? "" }
  var inputs: PythonValue { value["inputs"]! }
  var testDescription: String { id }

  /// What a release gives: that of the range it falls into, which has an expectation of its own if it differs from the newest release's.
  func expected(in release: Release) -> PythonValue {
    let range = value["releases"]?.list?.first { Release($0["from"]!.text!)! <= release && release <= Release($0["to"]!.text!)! }
    return range?["expect"] ?? value["expect"]!
  }
}

/// The cases of a suite below Fixtures/cases/tokens.
func tokenCases(_ path: String) throws -> [TokenCase] {
  let file = try MappedFile("\(fixtures)/cases/tokens/\(path)")
  let lines = file.bytes.split(separator: UInt8(ascii: "\n"))
  precondition(!lines.isEmpty, "an empty suite tests nothing")
  return try lines.map { TokenCase(value: try PythonValue(json: UnsafeRawBufferPointer(rebasing: $0), place: path)) }
}

extension PythonValue {
  var text: String? { if case .string(let value) = self { value.text } else { nil } }
  var list: [PythonValue]? { if case .list(let values) = self { values } else { nil } }
  var number: Int? { if case .integer(let digits) = self { Int(digits) } else { nil } }
  var numbers: [Int]? { list?.compactMap(\.number) }
}
