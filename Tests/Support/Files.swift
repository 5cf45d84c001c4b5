import Foundation
import PixtralReference
import PixtralStorage
import PixtralText
import Testing

/// The folder of this checkout.
public let checkout = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().path

/// Its folder Fixtures.
public let fixtures = "\(checkout)/Fixtures"

/// Read once for all tests.
public func fixtureTokenizer() throws -> Tokenizer { try tokenizer.get() }

private let tokenizer = Result { try Tokenizer(file: "\(fixtures)/tokenizer/\(Tokenizer.fileName)") }

/// A folder that is gone when the test is.
public final class TemporaryFolder: Sendable {
  public let path: String

  public init() throws {
    let url = FileManager.default.temporaryDirectory.appending(path: "pixtral-ref-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  @discardableResult
  public func write(_ name: String, _ bytes: [UInt8]) throws -> String {
    let file = "\(path)/\(name)"
    // A name may be that of a file in a folder of its own.
    try FileManager.default.createDirectory(
      at: URL(fileURLWithPath: file).deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    return file
  }

  @discardableResult
  public func write(_ name: String, _ text: String) throws -> String { try write(name, Array(text.utf8)) }

  public var contents: [String] {
    (try? FileManager.default.contentsOfDirectory(atPath: path).sorted()) ?? []
  }
}

public func bytes(of path: String) throws -> [UInt8] {
  Array(try Data(contentsOf: URL(fileURLWithPath: path)))
}

extension SafetensorsWriter {
  /// To a file of its own.
  package convenience init(_ path: String, _ entries: [Entry]) throws {
    try self.init(entries) { try NewFile(path, room: $0, sparing: []) }
  }
}

/// In hexadecimal.
public func sha256(_ bytes: [UInt8]) -> String {
  let hash = SHA256()
  hash.update(bytes)
  return hash.hexDigest()
}

/// The error that an input raises, which must be one of ours.
public func refusal<Result>(
  _ body: () throws -> Result, _ location: SourceLocation = #_sourceLocation
) throws -> InputError {
  let error = #expect(throws: InputError.self, sourceLocation: location) { _ = try body() }
  return try #require(error, sourceLocation: location)
}

/// Expects nothing wrong of many cases; otherwise names the first ten.
public func expectNone(_ wrong: [String], of count: Int, _ location: SourceLocation = #_sourceLocation) {
  #expect(count > 0, "an empty suite tests nothing", sourceLocation: location)
  if wrong.isEmpty { return }
  let shown = wrong.prefix(10).map { $0.count > 300 ? "\($0.prefix(300))…" : $0 }.joined(separator: "\n")
  Issue.record("\(wrong.count) of \(count):\n\(shown)", sourceLocation: location)
}
