/// What a prompt is made of before its text is encoded.
enum PromptPart: Equatable {
  case control(V7Token)
  /// A stretch of text that is encoded on its own.
  case text(String)
  case image(ImageSource)
}

/// The V7 chat template, as mistral-common 1.13.1 renders system, user and assistant messages. Model.md 4.6.
enum V7Template {
  /// Messages to parts.
  ///
  /// - Throws: `InputError` of kind `wrongRequest` with the exception that mistral-common raises.
  static func render(_ request: ChatRequest) throws -> [PromptPart] {
    try checkOrder(request.messages)
    var parts: [PromptPart] = [.control(.beginOfSequence)]
    for message in merged(request.messages) {
      let content = joined(message.content)
      switch message.role {
      case .system:
        parts.append(.control(.beginSystemPrompt))
        parts += content.map(PromptPart.init)
        parts.append(.control(.endSystemPrompt))
      case .user:
        parts.append(.control(.beginInstruction))
        parts += imageFirst(content).map(PromptPart.init)
        parts.append(.control(.endInstruction))
      case .assistant:
        guard case .text(let text)? = content.first else {
          throw refuse(
            "assistant message", expected: "text", found: "none", exception: "TokenizerException")
        }
        parts.append(.text(text.droppingTrailingSpaces()))
        parts.append(.control(.endOfSequence))
      }
    }
    return parts
  }

  /// Consecutive user messages count as one, and so do consecutive assistant messages; system messages stay apart.
  private static func merged(_ messages: [ChatRequest.Message]) -> [ChatRequest.Message] {
    messages.reduce(into: []) { merged, message in
      if let last = merged.last, last.role == message.role, message.role != .system {
        merged[merged.count - 1] = ChatRequest.Message(last.role, last.content + message.content)
      } else {
        merged.append(message)
      }
    }
  }

  /// Texts that follow one another become one, with an empty line between them; empty ones vanish.
  private static func joined(_ content: [ChatRequest.Chunk]) -> [ChatRequest.Chunk] {
    content.reduce(into: []) { joined, chunk in
      guard case .text(let text) = chunk else { return joined.append(chunk) }
      if text.isEmpty { return }
      if case .text(let before)? = joined.last {
        joined[joined.count - 1] = .text(before + "\n\n" + text)
      } else {
        joined.append(chunk)
      }
    }
  }

  /// A text followed by one image, and nothing else, is turned round.
  private static func imageFirst(_ content: [ChatRequest.Chunk]) -> [ChatRequest.Chunk] {
    content.count == 2 && !content[0].isImage && content[1].isImage ? content.reversed() : content
  }

  private static func checkOrder(_ messages: [ChatRequest.Message]) throws {
    let exception = "InvalidMessageStructureException"
    guard let last = messages.last else {
      throw refuse("messages", expected: "at least one message", found: "none", exception: exception)
    }
    if last.role == .assistant {
      throw refuse(
        "message \(messages.count - 1), role", expected: "user or system at the end", found: "assistant", exception: exception)
    }
    for index in messages.indices.dropFirst()
    where messages[index - 1].role == .assistant && messages[index].role == .system {
      throw refuse(
        "message \(index), role", expected: "user or assistant after assistant", found: "system", exception: exception)
    }
  }

  private static func refuse(
    _ place: String, expected: String, found: String, exception: String
  ) -> InputError {
    InputError(.wrongRequest, place, expected: expected, found: found, exception: exception)
  }
}

extension PromptPart {
  fileprivate init(_ chunk: ChatRequest.Chunk) {
    switch chunk {
    case .text(let text): self = .text(text)
    case .image(let source): self = .image(source)
    }
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
