import PixtralStorage

/// The calls of tools in an answer, read as mistral-common and vLLM read them. Answer.md 6.
///
///     [TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "VvvODy9mT"}]</s>
public struct AnsweredCalls: Sendable, Equatable {
  /// A call.
  public struct Call: Sendable, Equatable {
    /// `null`, in letters, if the model gave none, as mistral-common has it.
    public let id: String
    /// The tool's name.
    public let name: String
    /// A JSON object, as Python's `json` writes it.
    public let arguments: String
  }

  /// The text before the first `[TOOL_CALLS]`; all of the text where there are no calls or they cannot be
  /// read.
  public let content: String
  /// The calls in the order of the answer.
  public let calls: [Call]
  /// Why the calls cannot be read, in one sentence; nil if they can, or if there are none.
  public let problem: String?
}

extension Tokenizer {
  /// The calls in the tokens of an answer.
  ///
  /// - Throws: `InputError` of kind `wrongTokens` for an id that is not in the vocabulary.
  public func calls(in tokens: [Int]) throws -> AnsweredCalls {
    let parts = tokens.split(separator: V7Token.toolCalls.rawValue, omittingEmptySubsequences: false)
    guard parts.count > 1 else {
      return AnsweredCalls(content: try decode(tokens), calls: [], problem: nil)
    }
    do {
      let calls = try parts.dropFirst().flatMap { try AnsweredCalls.read(try decode(Array($0))) }
      return AnsweredCalls(
        content: try decode(calls.isEmpty ? tokens : Array(parts[0])), calls: calls, problem: nil)
    } catch let error as InputError where error.kind != .wrongTokens {
      return AnsweredCalls(content: try decode(tokens), calls: [], problem: error.description)
    }
  }
}

extension AnsweredCalls {
  /// The calls behind one `[TOOL_CALLS]`: a list of objects and nothing else, as mistral-common wants it;
  /// failing that, as vLLM does, what stands from the first `[{` to the last `}]`.
  static func read(_ text: String) throws -> [Call] {
    do { return try read(list: text) } catch let error as InputError {
      guard error.kind == .malformedJSON, let inner = innermost(of: text) else { throw error }
      return try read(list: inner)
    }
  }

  private static func innermost(of text: String) -> String? {
    let bytes = Array(text.utf8)
    guard let start = bytes.indices.first(where: { bytes[$0...].starts(with: Array("[{".utf8)) }),
      let end = bytes.indices.last(where: { bytes[$0...].starts(with: Array("}]".utf8)) }), start + 1 < end
    else { return nil }
    return String(decoding: bytes[start..<end + 2], as: UTF8.self)
  }

  private static func read(list text: String) throws -> [Call] {
    let place = "the calls behind [TOOL_CALLS]"
    var text = text
    let value = try text.withUTF8 { try PythonValue(json: UnsafeRawBufferPointer($0), place: place) }
    guard case .list(let calls) = value else {
      throw InputError(.wrongRequest, place, expected: "an array of calls", found: value.kindName)
    }
    return try calls.enumerated().map { n, call in
      let place = "call \(n) behind [TOOL_CALLS]"
      guard call.isDictionary else {
        throw InputError(.wrongRequest, place, expected: "an object", found: call.kindName)
      }
      func refusal(_ key: String, _ expected: String, _ found: String? = nil) -> InputError {
        InputError(
          .wrongRequest, "\(place), \(key)", expected: expected,
          found: found ?? call[key]?.kindName ?? "no such key")
      }
      guard let name = call["name"]?.asText else { throw refusal("name", "a string") }
      guard let arguments = call["arguments"], arguments.isDictionary else {
        throw refusal("arguments", "an object")
      }
      guard !arguments.holdsHalfSurrogate else {
        throw refusal("arguments", "Unicode text", "half of a surrogate pair")
      }
      let id = call["id"] ?? .string(PythonString("null"))
      guard let id = id.asText else { throw refusal("id", "a string") }
      return Call(id: id, name: name, arguments: arguments.dumped())
    }
  }
}
