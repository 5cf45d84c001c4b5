import PixtralImage
import PixtralStorage

/// The V7 chat template: messages to tokens, as a release of mistral-common gives them. Tokens.md 10.
///
/// A pure function of the request and the grids of its images: nothing is opened here.
public struct V7Template: Sendable {
  /// Encodes the texts between control tokens.
  public let tokenizer: Tokenizer
  /// The release of mistral-common to render valid requests as.
  public let release: Release

  /// - Parameters:
  ///   - tokenizer: encodes the texts.
  ///   - release: the release of mistral-common to render valid requests as.
  public init(tokenizer: Tokenizer, release: Release = .current) {
    self.tokenizer = tokenizer
    self.release = release
  }

  /// A request to tokens.
  ///
  /// - Parameters:
  ///   - request: messages and tools.
  ///   - grids: of the images of the request in its order, or why there is none
  ///     (`ChatRequest.loadImages`).
  ///   - maxTokens: for a request with `truncate_for_context_length`, how many tokens its messages
  ///     may come to.
  /// - Throws: `InputError` of kind `wrongRequest` with the exception that mistral-common raises,
  ///   if the request breaks a rule; that of the first image without a grid.
  public func callAsFunction(
    _ request: ChatRequest, grids: [Result<PatchGrid, InputError>], maxTokens: Int? = nil
  ) throws -> RenderedRequest {
    try request.validate()
    if request.truncates && maxTokens == nil {
      throw InputError.request(
        "truncate_for_context_length", "a number of tokens to cut to", "none", "TokenizerException")
    }
    let turns = try turns(of: request)
    let lastUser = turns.lastIndex { $0.role == .user }

    var tokens: [[Int]] = []
    var images: [Int] = []
    for (index, turn) in turns.enumerated() {
      let tools = index == lastUser ? request.tools : []
      let endsIfContinued = request.continuesFinalMessage && release.endsContinuedMessage
      let parts = try parts(of: turn, index, tools, endsIfContinued: endsIfContinued)
      tokens.append(try encode(parts, grids, &images))
    }
    if request.truncates, let maxTokens {
      try truncate(&tokens, of: turns.map(\.role), to: maxTokens, keeping: lastUser)
    }
    return RenderedRequest(tokens: [V7Token.beginOfSequence.rawValue] + tokens.joined(), images: images)
  }

  /// The tokens of parts. The images among them are added to `images`, by their number in the
  /// request.
  private func encode(
    _ parts: [Part], _ grids: [Result<PatchGrid, InputError>], _ images: inout [Int]
  ) throws -> [Int] {
    var tokens: [Int] = []
    for part in parts {
      switch part {
      case .control(let token): tokens.append(token.rawValue)
      case .text(let text): tokens += tokenizer.encode(text)
      case .image(let number):
        tokens += imageTokens(try grids[number].get())
        images.append(number)
      case .brokenText: throw PixtralText.brokenText("content")
      case .refused(let error): throw error
      }
    }
    return tokens
  }
}

/// A chat request as tokens.
public struct RenderedRequest: Sendable, Equatable {
  /// The prompt.
  public let tokens: [Int]
  /// The images in the order in which they stand in the prompt, each by its number in the request.
  public let images: [Int]
}

/// What a message is made of before its text is encoded.
enum Part {
  case control(V7Token)
  /// A stretch of text that is encoded on its own.
  case text(String)
  /// An image, by its number in the request.
  case image(Int)
  /// A text with half of a surrogate pair: a text to the template, and none to the tokenizer.
  case brokenText
  /// A chunk that no token stands for.
  case refused(InputError)

  var isText: Bool {
    switch self {
    case .text, .brokenText: true
    default: false
    }
  }

  var isImage: Bool { if case .image = self { true } else { false } }
}

// MARK: - Messages to turns. Tokens.md 10.2 and 10.3

/// A message as it is rendered: merged with its neighbours of the same role, its images numbered,
/// its calls through Python's json.
private struct Turn {
  let role: ChatRequest.Role
  /// Texts, images and refused chunks.
  var content: [Part]
  var calls: [PythonValue]
  var isPrefix: Bool
  let toolCallID: String?
}

extension V7Template {
  /// Consecutive messages of one role become one, but for system and tool messages.
  private func turns(of request: ChatRequest) throws -> [Turn] {
    var turns: [Turn] = []
    var images = 0
    for (index, message) in request.messages.enumerated() {
      let isEmptyString = message.contentIsString && message.content == [.text("")]
      let vanishes = isEmptyString && message.role == .assistant && !release.joinsEmptyAssistantStrings
      let content = (vanishes ? [] : message.content).map { part($0, &images) }
      let calls = try message.toolCalls.map { try $0.described("message \(index), arguments") }
      let merges = message.role == .user || message.role == .assistant
      if merges, let last = turns.indices.last, turns[last].role == message.role {
        turns[last].content += content
        turns[last].calls += calls
        turns[last].isPrefix = turns[last].isPrefix || message.isPrefix
      } else {
        turns.append(
          Turn(
            role: message.role, content: content, calls: calls, isPrefix: message.isPrefix,
            toolCallID: message.toolCallID))
      }
    }
    for index in turns.indices { turns[index].content = joined(turns[index].content) }
    return turns
  }

  /// - images: how many came before; one more if the chunk is one.
  private func part(_ chunk: ChatRequest.Chunk, _ images: inout Int) -> Part {
    switch chunk {
    case .text(let text): return .text(text)
    case .image, .loaded:
      images += 1
      return .image(images - 1)
    case .brokenText: return .brokenText
    case .audio:
      return .refused(.request("content", "chunks that this model reads", "audio", "AssertionError"))
    case .thinking:
      return .refused(
        .request("content", "chunks that V7 has tokens for", "a thinking chunk", "TokenizerException"))
    }
  }

  /// Texts that follow one another become one, with an empty line between them; empty ones vanish.
  private func joined(_ content: [Part]) -> [Part] {
    var parts: [Part] = []
    var texts: [String] = []
    var isBroken = false
    func flush(atEnd: Bool) {
      defer { (texts, isBroken) = ([], false) }
      if isBroken { return parts.append(.brokenText) }
      let text = texts.joined(separator: "\n\n")
      // Older releases keep an empty text in front of an image, and then see more chunks than show.
      if !text.isEmpty || (!texts.isEmpty && !atEnd) { parts.append(.text(text)) }
    }
    for part in content {
      if case .text(let text) = part {
        if !text.isEmpty || release.joinsEmptyTexts { texts.append(text) }
      } else if part.isText {
        isBroken = true
      } else {
        flush(atEnd: false)
        parts.append(part)
      }
    }
    flush(atEnd: true)
    return parts
  }
}

// MARK: - Turns to parts. Tokens.md 10.4 to 10.13

extension V7Template {
  /// - endsIfContinued: whether a prefix is closed all the same.
  private func parts(
    of turn: Turn, _ index: Int, _ tools: [ChatRequest.Tool], endsIfContinued: Bool
  ) throws -> [Part] {
    switch turn.role {
    case .system:
      return [.control(.beginSystemPrompt)] + turn.content + [.control(.endSystemPrompt)]
    case .user:
      var parts: [Part] = []
      if !tools.isEmpty {
        let list = try PythonValue.list(tools.map(\.described)).dumpedForTokenizer("tools")
        parts = [.control(.beginAvailableTools), .text(list), .control(.endAvailableTools)]
      }
      return parts + [.control(.beginInstruction)] + imageFirst(turn.content) + [.control(.endInstruction)]
    case .assistant:
      guard !turn.content.isEmpty || !turn.calls.isEmpty else {
        throw InputError.request(
          "message \(index)", "text or tool_calls of the assistant", "neither", "TokenizerException")
      }
      var parts = turn.content.map { part -> Part in
        if case .text(let text) = part { .text(text.droppingTrailingSpaces()) } else { part }
      }
      if !turn.calls.isEmpty {
        let calls = try PythonValue.list(turn.calls).dumpedForTokenizer("message \(index), tool_calls")
        parts += [.control(.toolCalls), .text(calls)]
      }
      return parts + (turn.isPrefix && !endsIfContinued ? [] : [.control(.endOfSequence)])
    case .tool:
      let result = release.normalisesToolResults ? [try normalisedResult(turn, index)] : turn.content
      return [.control(.beginToolResults), .text(turn.toolCallID ?? ""), .control(.beginToolContent)]
        + result + [.control(.endToolResults)]
    }
  }

  /// One text before one image is turned round; an image goes first.
  private func imageFirst(_ content: [Part]) -> [Part] {
    guard content.count == 2, content[1].isImage, content[0].isText || release.swapsTwoImages else {
      return content
    }
    return content.reversed()
  }

  private func normalisedResult(_ turn: Turn, _ index: Int) throws -> Part {
    let place = "message \(index), content"
    guard case .text(let text) = turn.content.first ?? .text("") else { return .refused(brokenText(place)) }
    // What is no JSON stays as it is.
    guard let value = try PythonValue(loading: PythonString(text), place) else { return .text(text) }
    return value.holdsHalfSurrogate ? .refused(brokenText(place)) : .text(value.dumped())
  }
}

// MARK: - Through Python's json. Tokens.md 4

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
  /// What the template says of a call. Arguments that are no JSON go in as a string.
  fileprivate func described(_ place: String) throws -> PythonValue {
    [
      "name": .string(PythonString(name)),
      "arguments": try PythonValue(loading: arguments, place) ?? .string(arguments),
      "id": .string(PythonString(id)),
    ]
  }
}

extension PythonValue {
  /// `json.loads`: no text is an empty object; nil for what is no JSON, or holds half of a
  /// surrogate pair.
  fileprivate init?(loading text: PythonString, _ place: String) throws {
    if text.text.isEmpty {
      self = .dictionary([])
      return
    }
    do { self = try PythonValue(parsing: text.text) } catch let exception as PythonException {
      if exception.type == "JSONDecodeError" { return nil }
      throw InputError.request(place, "JSON that Python reads", exception.message, exception.type)
    }
    if text.hasHalfSurrogate { return nil }
  }

  /// `json.dumps`, for the tokenizer, which takes no half surrogates.
  fileprivate func dumpedForTokenizer(_ place: String) throws -> String {
    guard !holdsHalfSurrogate else { throw brokenText(place) }
    return dumped()
  }
}

private func brokenText(_ place: String) -> InputError {
  .request(place, "Unicode text", "half of a surrogate pair", "RuntimeError")
}

extension String {
  /// Spaces only: Python's `rstrip(" ")`. Works on scalars, for a space may be part of a grapheme.
  fileprivate func droppingTrailingSpaces() -> String {
    var scalars = Substring(self).unicodeScalars
    while scalars.last == " " { scalars.removeLast() }
    return String(scalars)
  }
}
