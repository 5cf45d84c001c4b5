import Foundation
import Testing

@testable import PixtralReference

/// The folder Fixtures of this checkout.
let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Fixtures").path

func fixtureTokenizer() throws -> Tokenizer {
  try Tokenizer(file: "\(fixtures)/tokenizer/\(Tokenizer.fileName)")
}

/// A folder that is gone when the test is.
final class TemporaryFolder {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appending(path: "pixtral-ref-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  @discardableResult
  func write(_ name: String, _ bytes: [UInt8]) throws -> String {
    let file = "\(path)/\(name)"
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    return file
  }

  @discardableResult
  func write(_ name: String, _ text: String) throws -> String { try write(name, Array(text.utf8)) }

  var contents: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path).sorted()) ?? [] }
}

func bytes(of path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }

/// The error that an input raises, which must be one of ours.
func refusal<Result>(_ body: () throws -> Result, _ location: SourceLocation = #_sourceLocation) throws -> InputError {
  let error = #expect(throws: InputError.self, sourceLocation: location) { _ = try body() }
  return try #require(error, sourceLocation: location)
}
