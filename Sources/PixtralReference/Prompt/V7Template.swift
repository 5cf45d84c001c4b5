/// The V7 chat template: messages to tokens, as a release of mistral-common gives them. Model.md 4.6.
public struct V7Template: Sendable {
  public let tokenizer: Tokenizer
  public let imageRule: ImageRule
  public let release: Release

  public init(tokenizer: Tokenizer, imageRule: ImageRule = .m1, release: Release = .current) {
    self.tokenizer = tokenizer
    self.imageRule = imageRule
    self.release = release
  }

  /// - maxTokens: for a request with `truncate_for_context_length`, how many tokens its messages may come to.
  /// - Throws: `InputError`; of kind `wrongRequest` with the exception that mistral-common raises, if the request breaks a rule.
  public func callAsFunction(_ request: ChatRequest, maxTokens: Int? = nil) throws -> RenderedRequest {
    try request.validate()
    if request.truncates && maxTokens == nil {
      throw refuse("truncate_for_context_length", "a number of tokens to cut to", "none", "TokenizerException")
    }
    let messages = try normalised(request.messages)
    let lastUser = messages.lastIndex { $0.role == .user }

    var tokens: [[Int]] = []
    var images: [RGBImage] = []
    for (index, message) in messages.enumerated() {
      let tools = index == lastUser ? request.tools : []
      tokens.append(try encode(parts(of: message, index, tools, endsIfContinued: request.continuesFinalMessage), request, &images))
    }
    if request.truncates, let maxTokens { try truncate(&tokens, of: messages, to: maxTokens, keeping: lastUser) }
    return RenderedRequest(tokens: [V7Token.beginOfSequence.rawValue] + tokens.joined(), images: images)
  }

  // MARK: - Messages

  /// Consecutive messages of one role become one, but for system and tool messages; the arguments of calls are written anew.
  private func normalised(_ messages: [ChatRequest.Message]) throws -> [ChatRequest.Message] {
    var merged: [ChatRequest.Message] = []
    for (index, message) in messages.enumerated() {
      var message = message
      if message.role == .assistant && message.contentIsString && message.content == [.text("")] && !release.joinsEmptyAssistantStrings {
        message.content = []
      }
      message.toolCalls = try message.toolCalls.map { try $0.normalised("message \(index), arguments") }
      if let last = merged.last, last.role == message.role, message.role == .user || message.role == .assistant {
        merged[merged.count - 1].content += message.content
        merged[merged.count - 1].toolCalls += message.toolCalls
        merged[merged.count - 1].isPrefix = last.isPrefix || message.isPrefix
      } else {
        merged.append(message)
      }
    }
    for index in merged.indices { merged[index].content = joined(merged[index].content) }
    return merged
  }

  /// Texts that follow one another become one, with an empty line between them; empty ones vanish.
  private func joined(_ content: [ChatRequest.Chunk]) -> [ChatRequest.Chunk] {
    var chunks: [ChatRequest.Chunk] = []
    var texts: [String] = []
    func flush(atEnd: Bool) {
      let text = texts.joined(separator: "\n\n")
      // Older releases keep an empty text in front of an image, and then see more chunks than show.
      if !text.isEmpty || !texts.isEmpty && !atEnd { chunks.append(.text(text)) }
      texts = []
    }
    for chunk in content {
      if case .text(let text) = chunk {
        if !text.isEmpty || release.joinsEmptyTexts { texts.append(text) }
      } else {
        flush(atEnd: false)
        chunks.append(chunk)
      }
    }
    flush(atEnd: true)
    return chunks
  }

  // MARK: - Parts

  /// What a message is made of before its text is encoded.
  private enum Part {
    case control(V7Token)
    /// A stretch of text that is encoded on its own.
    case text(String)
    case image(String)
    /// A chunk that no token stands for.
    case refused(InputError)
  }

  private func parts(
    of message: ChatRequest.Message, _ index: Int, _ tools: [ChatRequest.Tool], endsIfContinued: Bool
  ) throws -> [Part] {
    let content = message.content.map(part)
    switch message.role {
    case .system: return [.control(.beginSystemPrompt)] + content + [.control(.endSystemPrompt)]
    case .user:
      var parts: [Part] = []
      if !tools.isEmpty {
        let list = PythonValue.list(tools.map(\.described))
        parts = [.control(.beginAvailableTools), .text(try list.dumpedForTokenizer("tools")), .control(.endAvailableTools)]
      }
      return parts + [.control(.beginInstruction)] + imageFirst(message.content).map(part) + [.control(.endInstruction)]
    case .assistant:
      guard !content.isEmpty || !message.toolCalls.isEmpty else {
        throw refuse("message \(index)", "text or tool_calls of the assistant", "neither", "TokenizerException")
      }
      var parts: [Part] = []
      for chunk in message.content {
        if case .text(let text) = chunk { parts.append(.text(text.droppingTrailingSpaces())) } else { parts.append(part(chunk)) }
      }
      if !message.toolCalls.isEmpty {
        let calls = PythonValue.list(try message.toolCalls.map { try $0.described("message \(index), arguments") })
        parts += [.control(.toolCalls), .text(try calls.dumpedForTokenizer("message \(index), tool_calls"))]
      }
      let isOpen = message.isPrefix && !(endsIfContinued && release.endsContinuedMessage)
      return parts + (isOpen ? [] : [.control(.endOfSequence)])
    case .tool:
      return [.control(.beginToolResults), .text(message.toolCallID ?? ""), .control(.beginToolContent)]
        + (release.normalisesToolResults ? [try normalisedResult(message, index)] : content) + [.control(.endToolResults)]
    }
  }

  private func normalisedResult(_ message: ChatRequest.Message, _ index: Int) throws -> Part {
    guard case .text(let text) = message.content.first ?? .text("") else { return .refused(brokenText("message \(index), content")) }
    let normalised = try normalisedJSON(PythonString(text), "message \(index), content")
    return normalised.hasHalfSurrogate ? .refused(brokenText("message \(index), content")) : .text(normalised.text)
  }

  private func part(_ chunk: ChatRequest.Chunk) -> Part {
    switch chunk {
    case .text(let text): .text(text)
    case .brokenText: .refused(brokenText("content"))
    case .image(let url): .image(url)
    case .audio: .refused(refuse("content", "chunks that this model reads", "audio", "AssertionError"))
    case .thinking: .refused(refuse("content", "chunks that V7 has tokens for", "a thinking chunk", "TokenizerException"))
    }
  }

  /// One text before one image is turned round; an image goes first.
  private func imageFirst(_ content: [ChatRequest.Chunk]) -> [ChatRequest.Chunk] {
    guard content.count == 2, content[1].isImage, !content[0].isImage || release.swapsTwoImages else { return content }
    return content.reversed()
  }

  private func encode(_ parts: [Part], _ request: ChatRequest, _ images: inout [RGBImage]) throws -> [Int] {
    var tokens: [Int] = []
    for part in parts {
      switch part {
      case .control(let token): tokens.append(token.rawValue)
      case .text(let text): tokens += tokenizer.encode(text)
      case .image(let url):
        let place = "image \(images.count)"
        let image = try ImageSource(url, place: place, folder: request.folder).load(place: place, maxPixels: imageRule.maxPixels)
        tokens += imageTokens(imageRule.grid(width: image.width, height: image.height))
        images.append(image)
      case .refused(let error): throw error
      }
    }
    return tokens
  }

  // MARK: - Truncation

  /// Empties messages from the first on until the rest fits: never a system message nor the last user message; with a user message go the
  /// answers to it. The images of the messages that go stay: so mistral-common has it.
  private func truncate(_ tokens: inout [[Int]], of messages: [ChatRequest.Message], to limit: Int, keeping lastUser: Int?) throws {
    var excess = tokens.reduce(-limit) { $0 + $1.count }
    func drop(_ index: Int) {
      if messages[index].role == .system || index == lastUser { return }
      excess -= tokens[index].count
      tokens[index] = []
    }
    var index = 0
    while excess > 0 && index < messages.count {
      drop(index)
      index += 1
      guard messages[index - 1].role == .user else { continue }
      while index < messages.count && messages[index].role != .user {
        drop(index)
        index += 1
      }
    }
    guard excess <= 0 else {
      throw refuse(
        "messages", "system messages and a last user message of at most \(limit) tokens", "\(limit + excess)", "TokenizerException")
    }
  }
}

/// A chat request as tokens, and its images as decoded, in the order of the tokens.
public struct RenderedRequest: Sendable {
  public let tokens: [Int]
  public let images: [RGBImage]
}

// MARK: - Through Python's json

extension ChatRequest.Tool {
  /// What the template says of a tool. `strict` is not part of it.
  fileprivate var described: PythonValue {
    [
      "type": .string(PythonString("function")),
      "function": [
        "name": .string(PythonString(name)), "description": .string(description), "parameters": parameters,
      ],
    ]
  }
}

extension ChatRequest.ToolCall {
  fileprivate func normalised(_ place: String) throws -> Self {
    Self(id: id, name: name, arguments: try normalisedJSON(arguments, place))
  }

  /// Arguments that are no JSON go in as a string.
  fileprivate func described(_ place: String) throws -> PythonValue {
    let value = try arguments.hasHalfSurrogate ? nil : PythonValue(loading: arguments, place)
    return ["name": .string(PythonString(name)), "arguments": value ?? .string(arguments), "id": .string(PythonString(id))]
  }
}

/// JSON written anew: `json.dumps(json.loads(text))`. No text is an empty object, and what is no JSON stays as it is.
private func normalisedJSON(_ text: PythonString, _ place: String) throws -> PythonString {
  if text.text.isEmpty { return PythonString("{}") }
  guard let value = try PythonValue(loading: text, place) else { return text }
  return PythonString(value.dumped(), hasHalfSurrogate: text.hasHalfSurrogate || value.holdsHalfSurrogate)
}

private func brokenText(_ place: String) -> InputError { refuse(place, "Unicode text", "half of a surrogate pair", "RuntimeError") }

extension PythonValue {
  /// `json.loads`, nil for a text that is no JSON.
  fileprivate init?(loading text: PythonString, _ place: String) throws {
    do { self = try PythonValue(parsing: text.text) } catch let exception as PythonException {
      if exception.type == "JSONDecodeError" { return nil }
      throw refuse(place, "JSON that Python reads", exception.message, exception.type)
    }
  }

  /// `json.dumps`, for the tokenizer, which takes no half surrogates.
  fileprivate func dumpedForTokenizer(_ place: String) throws -> String {
    guard !holdsHalfSurrogate else { throw brokenText(place) }
    return dumped()
  }
}

extension PythonValue: ExpressibleByDictionaryLiteral {
  init(dictionaryLiteral elements: (String, PythonValue)...) {
    self = .dictionary(elements.map { Member(key: PythonString($0.0), value: $0.1) })
  }
}

extension String {
  /// Spaces only: Python's `rstrip(" ")`. Works on scalars, for a space may be part of a grapheme.
  fileprivate func droppingTrailingSpaces() -> String {
    var scalars = Substring(self).unicodeScalars
    while scalars.last == " " { scalars.removeLast() }
    return String(scalars)
  }
}
