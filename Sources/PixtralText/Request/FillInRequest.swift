import PixtralStorage

/// A request to fill in the middle: code between a prompt and a suffix.
public struct FillInRequest: Sendable, Equatable {
  /// The code before the gap.
  public let prompt: String
  /// The code behind the gap; empty for none.
  public let suffix: String

  /// - Parameters:
  ///   - prompt: the code before the gap.
  ///   - suffix: the code behind the gap.
  public init(prompt: String, suffix: String = "") {
    self.prompt = prompt
    self.suffix = suffix
  }

  package init(_ value: PythonValue, place: String) throws {
    var fields = try Fields(value, place: place, what: "an object with prompt and suffix")
    let texts = (try fields.pythonString("prompt"), try fields.optionalString("suffix"))
    _ = try ChatRequest.Settings(&fields)
    try fields.finish()
    guard !texts.0.hasHalfSurrogate, texts.1?.hasHalfSurrogate != true else {
      throw InputError.request(place, "Unicode text", "half of a surrogate pair", "RuntimeError")
    }
    (prompt, suffix) = (texts.0.text, texts.1?.text ?? "")
  }

  /// Reads a request file: `{"prompt", "suffix"}`.
  ///
  /// - Throws: `InputError` of kind `wrongRequest`, `malformedJSON` or `unreadableFile`.
  public init(file path: String) throws {
    try self.init(MappedFile(path).withBytes { try PythonValue(json: $0, place: path) }, place: path)
  }
}
