import PixtralStorage

/// Reads chat requests in OpenAI's form, as mistral-common's `ChatCompletionRequest.from_openai`
/// does: it goes from message to message and from tool to tool, keeps the keys that mistral-common
/// has, drops the others, and leaves what it kept to `RequestReader.swift`. Tokens.md 14.
///
/// What Python itself raises on the way, a `KeyError` or an `AttributeError`, is the answer too. So
/// the order in which things are looked at is the order here.

extension ChatRequest {
  /// The form that a request is written in.
  public enum Form: String, Sendable, CaseIterable {
    /// mistral-common's own: `ChatCompletionRequest`.
    case mistral
    /// OpenAI's, turned into mistral-common's as `ChatCompletionRequest.from_openai` does.
    case openAI = "openai"
  }

  /// - place: names the request in errors.
  /// - Throws: `InputError` with the exception that Python, pydantic or mistral-common raises.
  init(openAI value: PythonValue, place: String, images: ImageLoader) throws {
    // 14.2: the request is the keywords of a call of Python.
    guard case .dictionary(let keywords) = value else {
      throw InputError.request(place, "an object with messages", value.kindName, "TypeError")
    }
    guard value["cls"] == nil else {
      throw InputError.request("\(place), cls", "no key of this name", "one", "TypeError")
    }
    guard let messages = value["messages"] else {
      throw InputError.request("\(place), messages", "an array", "no such key", "TypeError")
    }
    guard value["seed"] == nil || value["random_seed"] == nil else {
      throw InputError.request("\(place), seed", "seed or random_seed", "both", "ValueError")
    }
    // 14.3
    self.init(try messages.elements("\(place), messages").map { try Message(openAI: $0, place: $1, images) })
    if let continues = value["continue_final_message"] {
      try continueFinalMessage(continues, "\(place), continue_final_message")
    }
    // 14.10
    if let tools = value["tools"], tools != .none {
      self.tools = try tools.elements("\(place), tools").map { try Tool(openAI: $0, place: $1) }
    }
    try readSettings(.dictionary(keywords.compactMap(Self.setting)), place: place, images)
  }

  /// Tokens.md 14.9.
  private mutating func continueFinalMessage(_ given: PythonValue, _ place: String) throws {
    guard let continues = given.asBoolean else { throw wrongType(place, "a boolean", given) }
    guard continues else { return }
    guard messages.last?.role == .assistant else {
      throw InputError.request(
        place, "an assistant message at the end", messages.last?.role.rawValue ?? "no message",
        "InvalidMessageStructureException")
    }
    messages[messages.count - 1].isPrefix = true
    continuesFinalMessage = true
  }

  /// A setting under mistral-common's name and with the keys that it knows; nil for any other key.
  /// Tokens.md 14.12.
  private static func setting(_ member: PythonValue.Member) -> PythonValue.Member? {
    let (key, value) = (member.key.text, member.value)
    let kept: PythonValue
    switch key {
    case "model", "temperature", "top_p", "max_tokens", "random_seed", "truncate_for_context_length",
      "reasoning_effort":
      kept = value
    case "seed": return .init(key: PythonString("random_seed"), value: value)
    case "parallel_tool_calls": kept = value == .none ? .boolean(true) : value
    case "tool_choice":
      kept = value.keeping("type", "function").replacing("function") { $0.keeping("name") }
    case "response_format":
      kept = value.keeping("type", "json_schema").replacing("json_schema") {
        // Its own name for a schema counts only where OpenAI's is not given.
        $0.keeping("name", "description", "strict", $0["schema"] == nil ? "custom_schema" : "schema")
      }
    default: return nil
    }
    return .init(key: member.key, value: kept)
  }
}

extension ChatRequest.Message {
  /// Tokens.md 14.4 to 14.8.
  fileprivate init(openAI value: PythonValue, place: String, _ images: ImageLoader) throws {
    guard value.isDictionary else { throw noObject(value, place) }
    let role = value["role"] ?? .none
    switch role.asText {
    case "user": self.init(.user, [])
    case "assistant": self.init(.assistant, [])
    case "tool": self.init(.tool, [])
    case "system", "developer": self.init(.system, [])
    default:
      throw InputError.request(
        "\(place), role", "user, assistant, tool, system or developer", role.asText ?? role.kindName,
        "ValueError")
    }
    switch self.role {
    case .user, .system: try take(value.member("content", place), place, images)
    case .assistant: try takeAnswer(value, place, images)
    case .tool: try takeResult(value, place, images)
    }
  }

  /// Takes content: each chunk is read before any is looked at for the message's role. Tokens.md 14.5.
  private mutating func take(_ given: PythonValue, _ place: String, _ images: ImageLoader) throws {
    try read(content: given, place, images)
    try check(content: given, place)
  }

  private mutating func read(content given: PythonValue, _ place: String, _ images: ImageLoader) throws {
    switch given {
    case .none: break
    case .string(let text):
      content = [.init(text)]
      contentIsString = true
    case .list(let chunks):
      content = try chunks.enumerated().map {
        try ChatRequest.Chunk(openAI: $1, place: "\(place), chunk \($0)", images)
      }
    default:
      throw InputError.request(
        "\(place), content", "a string or an array of chunks", given.kindName, "ValueError")
    }
  }

  private func check(content given: PythonValue, _ place: String) throws {
    if given == .none && role != .assistant {
      throw wrongType("\(place), content", "a string or an array of chunks", given)
    }
    for (index, chunk) in (given.asList ?? []).enumerated() {
      try role.check(chunk, place: "\(place), chunk \(index)")
    }
  }

  /// Tokens.md 14.6 and 14.7.
  private mutating func takeAnswer(_ value: PythonValue, _ place: String, _ images: ImageLoader) throws {
    switch value["tool_calls"] ?? .none {
    case .none: break
    case .list(let calls):
      toolCalls = try calls.enumerated().map { number, call in
        try ChatRequest.ToolCall(
          call.keeping("id", "type", "function").replacing("function") { $0.keeping("name", "arguments") },
          place: "\(place), tool_calls \(number)")
      }
      hasToolCalls = true
    case let other:
      throw InputError.request("\(place), tool_calls", "an array", other.kindName, "ValueError")
    }
    let given = value["content"] ?? .none
    try read(content: given, place, images)
    if let reasoning = try Self.reasoning(of: value, place) {
      guard !content.contains(.thinking) else {
        throw InputError.request(
          "\(place), reasoning", "thinking chunks or reasoning", "both", "InvalidAssistantMessageException")
      }
      guard reasoning.asPythonString != nil else {
        throw wrongType("\(place), reasoning", "a string", reasoning)
      }
      content.insert(.thinking, at: 0)
      contentIsString = false
    }
    try check(content: given, place)
  }

  private static func reasoning(of value: PythonValue, _ place: String) throws -> PythonValue? {
    let given = [value["reasoning"] ?? .none, value["reasoning_content"] ?? .none].filter { $0 != .none }
    guard given.count < 2 || given[0].isEqual(to: given[1]) else {
      throw InputError.request(
        "\(place), reasoning", "the same as reasoning_content", "something else", "ValueError")
    }
    return given.first
  }

  /// Tokens.md 14.8.
  private mutating func takeResult(_ value: PythonValue, _ place: String, _ images: ImageLoader) throws {
    let given = try value.member("content", place)
    try read(content: given, place, images)
    var names = try Fields(
      ["tool_call_id": value.member("tool_call_id", place), "name": value["name"] ?? .none], place: place,
      what: "an object")
    try check(content: given, place)
    try takeNames(&names)
  }
}

extension ChatRequest.Chunk {
  /// Tokens.md 14.5.
  fileprivate init(openAI value: PythonValue, place: String, _ images: ImageLoader) throws {
    guard value.isDictionary else { throw noObject(value, place) }
    let type = value["type"] ?? .none
    let kept: PythonValue
    switch type.asText {
    case "text": kept = value.keeping("type", "text")
    // Here alone keys inside are not dropped.
    case "image_url": kept = ["type": type, "image_url": try value.member("image_url", place)]
    case "input_audio": kept = value.keeping("type", "input_audio")
    case "audio_url":
      kept = value.keeping("type", "audio_url").replacing("audio_url") { $0.keeping("url") }
    case "thinking": kept = value.keeping("type", "thinking", "closed")
    case "image":
      throw InputError.request(
        "\(place), type", "image_url", "image, which from_openai takes in no form", "AssertionError")
    default:
      throw InputError.request(
        "\(place), type", "text or image_url", type.asText ?? type.kindName, "ValueError")
    }
    try self.init(kept, place: place, images)
  }
}

extension ChatRequest.Tool {
  /// Tokens.md 14.10 and 14.11.
  fileprivate init(openAI value: PythonValue, place: String) throws {
    guard value.isDictionary else { throw noObject(value, place) }
    let kept = try value.keeping("type", "function").replacing("function") { function in
      guard function.isTrue else { return function }
      var members = try function.asDictionary("\(place), function").filter {
        switch $0.key.text {
        case "name": true
        case "description", "parameters", "strict": $0.value != .none
        default: false
        }
      }
      if !members.contains(where: { $0.key.text == "parameters" }) {
        members.append(.init(key: PythonString("parameters"), value: [:]))
      }
      return .dictionary(members)
    }
    try self.init(kept, place: place)
  }
}

// MARK: - What Python does with values of any type

/// What is asked for a key without being an object.
private func noObject(_ value: PythonValue, _ place: String) -> InputError {
  .request(place, "an object", value.kindName, "AttributeError")
}

extension PythonValue {
  /// `value[key]`.
  fileprivate func member(_ key: String, _ place: String) throws -> PythonValue {
    guard let value = self[key] else {
      throw InputError.request("\(place), \(key)", "a value", "no such key", "KeyError")
    }
    return value
  }

  /// An object with these keys only; anything else as it is.
  fileprivate func keeping(_ keys: String...) -> PythonValue {
    guard case .dictionary(let members) = self else { return self }
    return .dictionary(members.filter { keys.contains($0.key.text) })
  }

  /// An object with another value for a key that it has; anything else as it is.
  fileprivate func replacing(_ key: String, with change: (PythonValue) throws -> PythonValue) rethrows
    -> PythonValue
  {
    guard case .dictionary(let members) = self else { return self }
    return .dictionary(
      try members.map {
        $0.key.text == key ? Member(key: $0.key, value: try change($0.value)) : $0
      })
  }

  /// What a loop goes through, each with its place, where objects are wanted: the elements of an array.
  /// Those of strings and objects are strings.
  fileprivate func elements(_ place: String) throws -> [(PythonValue, place: String)] {
    switch self {
    case .list(let values): return values.enumerated().map { ($1, "\(place) \($0)") }
    case .string(let text):
      if text.text.isEmpty { return [] }
      throw noObject(self, "\(place) 0")
    case .dictionary(let members):
      guard let first = members.first else { return [] }
      throw noObject(.string(first.key), "\(place) 0")
    default: throw InputError.request(place, "an array", kindName, "TypeError")
    }
  }

  /// `bool(value)`.
  fileprivate var isTrue: Bool {
    switch self {
    case .none, .boolean(false), .integer("0"), .float(0): false
    case .string(let text): !text.text.isEmpty
    case .list(let values): !values.isEmpty
    case .dictionary(let members): !members.isEmpty
    default: true
    }
  }

  /// The members of `dict(value)`, which takes a list of pairs too, but for those whose key is no
  /// string.
  fileprivate func asDictionary(_ place: String) throws -> [Member] {
    func refuse(_ expected: String, _ found: PythonValue, _ place: String, _ exception: String) -> InputError
    {
      .request(place, expected, found.kindName, exception)
    }
    switch self {
    case .dictionary(let members): return members
    case .list(let values):
      var members: [PythonString: PythonValue] = [:]
      for (number, value) in values.enumerated() {
        let place = "\(place) \(number)"
        let pair: [PythonValue]
        switch value {
        case .list(let values): pair = values
        case .string(let text):
          pair = text.text.unicodeScalars.map {
            .string(PythonString(String($0), hasHalfSurrogate: text.hasHalfSurrogate && $0 == "\u{fffd}"))
          }
        case .dictionary(let members): pair = members.map { .string($0.key) }
        default: throw refuse("a pair", value, place, "TypeError")
        }
        guard pair.count == 2 else { throw refuse("a pair", value, place, "ValueError") }
        switch pair[0] {
        case .list, .dictionary: throw refuse("a key that can be hashed", pair[0], place, "TypeError")
        case .string(let key): members[key] = pair[1]
        default: break
        }
      }
      return members.map { Member(key: $0, value: $1) }
    // Each character is no pair.
    case .string: throw refuse("an object", self, place, "ValueError")
    default: throw refuse("an object", self, place, "TypeError")
    }
  }

  /// `self == other`.
  ///
  /// - isInside: of an array or object, where Python takes `NaN` for itself.
  fileprivate func isEqual(to other: PythonValue, isInside: Bool = false) -> Bool {
    switch (self, other) {
    case (.none, .none): return true
    case (.string(let a), .string(let b)): return a == b
    case (.list(let a), .list(let b)):
      return a.count == b.count && zip(a, b).allSatisfy { $0.isEqual(to: $1, isInside: true) }
    case (.dictionary(let a), .dictionary(let b)):
      let values = Dictionary(uniqueKeysWithValues: b.map { ($0.key, $0.value) })
      return a.count == b.count
        && a.allSatisfy { values[$0.key]?.isEqual(to: $0.value, isInside: true) ?? false }
    case (.integer(let a), .integer(let b)): return a == b
    case (.boolean, .boolean), (.boolean, .integer), (.boolean, .float), (.integer, .boolean),
      (.integer, .float),
      (.float, .boolean), (.float, .integer):
      return asNumber == other.asNumber
    case (.float(let a), .float(let b)): return a == b || isInside && a.isNaN && b.isNaN
    default: return false
    }
  }
}
