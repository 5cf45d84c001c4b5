/// Reads chat requests as pydantic reads mistral-common's `ChatCompletionRequest`: which keys there are, and of which type, with pydantic's own
/// conversions (`"prefix": "yes"` is true, `"max_tokens": "5"` is 5).
///
/// Only what shows in the tokens is kept; the rest is checked and forgotten.

extension ChatRequest {
  /// Reads a request file; relative image paths are relative to it.
  ///
  /// - Throws: `InputError` of kind `wrongRequest` or `malformedJSON`, with the exception that Python or mistral-common raises.
  public init(file path: String) throws {
    let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    self = try MappedFile(path).withBytes {
      try ChatRequest(json: $0, place: path, folder: path.contains("/") ? (folder.isEmpty ? "/" : folder) : ".")
    }
  }

  /// Reads a request.
  ///
  /// - place: named in errors.
  /// - folder: what relative image paths are relative to.
  public init(json: UnsafeRawBufferPointer, place: String, folder: String) throws {
    try self.init(PythonValue(json: json, place: place), place: place, folder: folder)
  }

  init(_ value: PythonValue, place: String, folder: String) throws {
    var value = value
    let continues = try Self.applyContinuation(&value, place)
    var fields = try Fields(value, place: place, what: "an object with messages")
    messages = try fields.list("messages").map { try $0.map(Message.init) } ?? { throw fields.missing("messages", "an array") }()
    tools = try fields.list("tools")?.map(Tool.init) ?? []
    truncates = try fields.boolean("truncate_for_context_length") ?? false
    reasoningEffort = try fields.name("reasoning_effort", of: ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
    try Self.checkSettings(&fields)
    try fields.finish()
    continuesFinalMessage = continues
    self.folder = folder
  }

  /// `continue_final_message` marks the last message as one to be continued. mistral-common does this before it looks at anything else.
  ///
  /// - Returns: whether it did so to a message that has not marked itself.
  private static func applyContinuation(_ value: inout PythonValue, _ place: String) throws -> Bool {
    let key = "continue_final_message"
    guard case .dictionary(var members) = value, let at = members.firstIndex(where: { $0.key.text == key }) else { return false }
    let given = members.remove(at: at).value
    guard let continues = given.asBoolean else { throw wrongType("\(place), \(key)", "a boolean", given) }
    value = .dictionary(members)
    guard continues else { return false }
    guard let messagesAt = members.firstIndex(where: { $0.key.text == "messages" }),
      case .list(var messages) = members[messagesAt].value, let last = messages.last,
      case .dictionary(var fields) = last, last["role"] == .string(PythonString("assistant"))
    else {
      throw InputError(
        .wrongRequest, "\(place), \(key)", expected: "an assistant message at the end", found: "none",
        exception: "InvalidMessageStructureException")
    }
    if let prefix = last["prefix"], prefix.asBoolean == nil { throw wrongType("\(place), prefix", "a boolean", prefix) }
    fields.removeAll { $0.key.text == "prefix" }
    fields.append(.init(key: PythonString("prefix"), value: .boolean(true)))
    messages[messages.count - 1] = .dictionary(fields)
    members[messagesAt].value = .list(messages)
    value = .dictionary(members)
    return last["prefix"]?.asBoolean != true
  }

  /// Settings of sampling and the like change no token, but a wrong one makes the request invalid.
  private static func checkSettings(_ fields: inout Fields) throws {
    _ = try fields.optionalString("model")
    try checkSampling(&fields)
    _ = try fields.boolean("parallel_tool_calls")
    if let choice = fields.take("tool_choice") {
      if case .dictionary = choice {
        var named = try Fields(choice, place: "\(fields.place), tool_choice", what: "an object")
        _ = try named.name("type", of: ["function"])
        var function = try Fields(
          named.required("function", "an object"), place: "\(fields.place), tool_choice, function", what: "an object")
        _ = try function.string("name")
        try function.finish()
        try named.finish()
      } else if !["auto", "none", "any", "required"].contains(choice.asText) {
        throw wrongType("\(fields.place), tool_choice", "auto, none, any, required or an object", choice)
      }
    }
    if let format = fields.take("response_format") {
      var format = try Fields(format, place: "\(fields.place), response_format", what: "an object")
      let type = try format.name("type", of: ["text", "json_object", "json_schema"])
      let schema = format.take("json_schema")
      if let schema, schema != .none {
        var schema = try Fields(schema, place: "\(format.place), json_schema", what: "an object")
        _ = try schema.string("name")
        _ = try schema.optionalString("description")
        let given = schema.take("custom_schema")
        guard case .dictionary? = schema.take("schema") ?? given else { throw schema.missing("schema", "an object") }
        _ = try schema.boolean("strict")
        try schema.finish()
      } else if type == "json_schema" {
        throw format.missing("json_schema", "an object")
      }
      try format.finish()
    }
  }
}

extension ChatRequest {
  fileprivate static func checkSampling(_ fields: inout Fields) throws {
    try fields.number("temperature", in: 0...1)
    try fields.number("top_p", in: 0...1)
    try fields.natural("max_tokens")
    try fields.natural("random_seed")
  }
}

extension ChatRequest.Message {
  fileprivate init(_ value: PythonValue, place: String) throws {
    var fields = try Fields(value, place: place, what: "an object with role and content")
    let name = try fields.string("role")
    guard let role = ChatRequest.Role(rawValue: name) else {
      throw fields.wrong("role", "system, user, assistant or tool", name)
    }
    self.init(role, [])
    switch fields.take("content") {
    case .string(let text)?:
      content = [.init(text)]
      contentIsString = true
    case .list(let chunks)?:
      content = try chunks.enumerated().map { try ChatRequest.Chunk($1, place: "\(place), chunk \($0)", in: role) }
    case nil where role == .assistant, PythonValue.none? where role == .assistant: break
    case nil: throw fields.missing("content", "a string or an array of chunks")
    case let other?: throw wrongType("\(place), content", "a string or an array of chunks", other)
    }
    if role == .assistant {
      if let calls = try fields.list("tool_calls") {
        toolCalls = try calls.map(ChatRequest.ToolCall.init)
        hasToolCalls = true
      }
      isPrefix = try fields.boolean("prefix") ?? false
    }
    if role == .tool {
      toolCallID = try fields.optionalString("tool_call_id")?.text
      self.name = try fields.optionalString("name")?.text
    }
    try fields.finish()
  }
}

extension ChatRequest.Chunk {
  fileprivate init(_ value: PythonValue, place: String, in role: ChatRequest.Role) throws {
    var fields = try Fields(value, place: place, what: "an object with a type")
    switch try fields.string("type") {
    case "text": self = .init(try fields.pythonString("text"))
    case "image_url":
      let url = try fields.required("image_url", "a URL, or an object with a url")
      if case .dictionary = url {
        var image = try Fields(url, place: "\(place), image_url", what: "an object with a url")
        self = .image(try image.string("url"))
        _ = try image.optionalString("detail")
        try image.finish()
      } else if case .string(let text) = url {
        self = .image(text.text)
      } else {
        throw wrongType("\(place), image_url", "a URL, or an object with a url", url)
      }
    case "image":
      // An image in base64, without the words of a URL around it. mistral-common opens it while it reads the request.
      let data = try fields.string("image")
      let url = data.hasPrefix("data:") ? data : "data:;base64,\(data)"
      do { _ = try ImageSource(url, place: place, folder: ".").load(place: place) } catch let error as InputError {
        throw error.raised(as: error.kind == .wrongRequest && data.hasPrefix("data:") ? "ValidationError" : "RuntimeError")
      }
      self = .image(url)
    case "thinking":
      _ = try fields.string("thinking")
      _ = try fields.boolean("closed")
      self = .thinking
    case "input_audio":
      let audio = try fields.required("input_audio", "audio data")
      guard (audio["data"] ?? audio).asText?.isEmpty == false else { throw wrongType("\(place), input_audio", "audio data", audio) }
      self = .audio
    case "audio_url" where role != .system:
      let url = try fields.required("audio_url", "a URL, or an object with a url")
      guard (url["url"] ?? url).asText != nil else { throw wrongType("\(place), audio_url", "a URL", url) }
      self = .audio
    case let other: throw fields.wrong("type", "text or image_url", other)
    }
    try fields.finish()

    let allowed =
      switch (self, role) {
      case (.text, _), (.brokenText, _): true
      case (.image, _): role == .user || role == .tool
      case (.audio, _): role != .assistant
      case (.thinking, _): role == .system || role == .assistant
      }
    guard allowed else { throw fields.wrong("type", "no such chunk in a message of role \(role)", "one") }
  }

  fileprivate init(_ text: PythonString) { self = text.hasHalfSurrogate ? .brokenText : .text(text.text) }

  var isImage: Bool { if case .image = self { true } else { false } }
}

extension ChatRequest.ToolCall {
  fileprivate init(_ value: PythonValue, place: String) throws {
    var fields = try Fields(value, place: place, what: "an object with id and function")
    id = try fields.string("id", default: "null")
    _ = try fields.name("type", of: ["function"], orAbsent: true)
    var function = try Fields(
      fields.required("function", "an object with name and arguments"), place: "\(place), function", what: "an object")
    name = try function.string("name")
    switch try function.required("arguments", "JSON text or an object") {
    case .none: arguments = PythonString("{}")
    case let dictionary where dictionary.isDictionary:
      arguments = PythonString(dictionary.dumped(), hasHalfSurrogate: dictionary.holdsHalfSurrogate)
    case .string(let text): arguments = text
    case let other: throw wrongType("\(place), arguments", "JSON text or an object", other)
    }
    try function.finish()
    try fields.finish()
  }
}

extension ChatRequest.Tool {
  fileprivate init(_ value: PythonValue, place: String) throws {
    var fields = try Fields(value, place: place, what: "an object with a function")
    _ = try fields.name("type", of: ["function"], orAbsent: true)
    var function = try Fields(
      fields.required("function", "an object with name and parameters"), place: "\(place), function", what: "an object")
    name = try function.string("name")
    description = try function.has("description") ? function.pythonString("description") : PythonString("")
    parameters = try function.required("parameters", "a JSON schema")
    guard parameters.isDictionary else { throw wrongType("\(place), parameters", "a JSON schema, an object", parameters) }
    _ = try function.boolean("strict")
    try function.finish()
    try fields.finish()
  }
}

/// A request to fill in the middle: code between a prompt and a suffix.
public struct FillInRequest: Sendable {
  public let prompt: String
  /// No text and none at all are the same.
  public let suffix: String

  init(_ value: PythonValue, place: String) throws {
    var fields = try Fields(value, place: place, what: "an object with prompt and suffix")
    let texts = (try fields.pythonString("prompt"), try fields.optionalString("suffix"))
    try ChatRequest.checkSampling(&fields)
    try fields.finish()
    guard !texts.0.hasHalfSurrogate, texts.1?.hasHalfSurrogate != true else {
      throw refuse(place, "Unicode text", "half of a surrogate pair", "RuntimeError")
    }
    (prompt, suffix) = (texts.0.text, texts.1?.text ?? "")
  }

  /// Reads a request file.
  public init(file path: String) throws {
    try self.init(MappedFile(path).withBytes { try PythonValue(json: $0, place: path) }, place: path)
  }
}

extension PythonValue {
  /// Parses a text, naming the place in errors.
  init(json: UnsafeRawBufferPointer, place: String) throws {
    guard String(validating: json, as: UTF8.self) != nil else {
      throw InputError(
        .malformedJSON, place, expected: "JSON text in UTF-8", found: "bytes that are no UTF-8", exception: "UnicodeDecodeError")
    }
    do { self = try PythonValue(parsing: json) } catch let exception as PythonException {
      throw InputError(
        .malformedJSON, place, expected: "JSON text in UTF-8", found: exception.message, exception: exception.type)
    }
  }

  fileprivate var isDictionary: Bool { if case .dictionary = self { true } else { false } }

  fileprivate var asText: String? { if case .string(let value) = self, !value.hasHalfSurrogate { value.text } else { nil } }

  /// pydantic's lax boolean.
  fileprivate var asBoolean: Bool? {
    switch self {
    case .boolean(let value): return value
    case .integer("1"), .float(1): return true
    case .integer("0"), .float(0): return false
    case .string(let value):
      switch value.text.lowercased() {
      case "1", "on", "t", "true", "y", "yes": return true
      case "0", "off", "f", "false", "n", "no": return false
      default: return nil
      }
    default: return nil
    }
  }

  /// pydantic's lax number: a boolean too, or a string of one with white space around it.
  fileprivate var asNumber: Double? {
    switch self {
    case .boolean(let value): return value ? 1 : 0
    case .integer(let digits): return Double(digits)
    case .float(let value): return value
    case .string(let value):
      let groups = value.text.trimmed.split(separator: "_", omittingEmptySubsequences: false)
      // Swift reads hexadecimal numbers too, pydantic does not.
      let isDecimal = groups.allSatisfy { !$0.isEmpty && !$0.unicodeScalars.contains { "xXpP".unicodeScalars.contains($0) } }
      return isDecimal ? Double(groups.joined()) : nil
    default: return nil
    }
  }

  /// pydantic's lax whole number: `"5"`, `"1_000"` and `"5.0"` are some, `"5."` and `"1e3"` are none, and a float is one below 2^63.
  fileprivate var asWholeNumber: Double? {
    guard case .string(let value) = self else {
      guard let number = asNumber, number == number.rounded(), number.isFinite else { return nil }
      if case .float = self { return number.magnitude < 0x1p63 ? number : nil }
      return number
    }
    let parts = value.text.trimmed.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    let unsigned = parts[0].hasPrefix("-") || parts[0].hasPrefix("+") ? parts[0].dropFirst() : parts[0]
    let groups = unsigned.split(separator: "_", omittingEmptySubsequences: false)
    guard groups.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } }) else {
      return nil
    }
    guard parts.count == 1 || !parts[1].isEmpty && parts[1].utf8.allSatisfy({ $0 == UInt8(ascii: "0") }) else { return nil }
    return Double((parts[0].hasPrefix("-") ? "-" : "") + groups.joined())
  }

  /// What it is, for a message.
  var kindName: String {
    switch self {
    case .none: "null"
    case .boolean: "a boolean"
    case .integer, .float: "a number"
    case .string(let value): value.hasHalfSurrogate ? "a string with half of a surrogate pair" : "a string"
    case .list: "an array"
    case .dictionary: "an object"
    }
  }
}

extension String {
  /// Without white space at both ends.
  fileprivate var trimmed: String {
    var scalars = Substring(self).unicodeScalars
    while scalars.first?.properties.isWhitespace == true { scalars.removeFirst() }
    while scalars.last?.properties.isWhitespace == true { scalars.removeLast() }
    return String(scalars)
  }
}

/// The keys of one object: each is taken once, and in the end none may be left.
private struct Fields {
  let place: String
  private var members: [PythonValue.Member]

  init(_ value: PythonValue, place: String, what: String) throws {
    guard case .dictionary(let members) = value else { throw wrongType(place, what, value) }
    self.place = place
    self.members = members
  }

  mutating func take(_ key: String) -> PythonValue? {
    guard let at = members.firstIndex(where: { $0.key.text == key }) else { return nil }
    return members.remove(at: at).value
  }

  func finish() throws {
    guard let member = members.first else { return }
    throw wrong(
      member.key.text, "no key of this name", "one",
      advice: "remove it: mistral-common's ChatCompletionRequest refuses keys that it does not know")
  }

  mutating func required(_ key: String, _ expected: String) throws -> PythonValue {
    guard let value = take(key) else { throw missing(key, expected) }
    return value
  }

  func has(_ key: String) -> Bool { members.contains { $0.key.text == key } }

  mutating func pythonString(_ key: String) throws -> PythonString {
    let value = try required(key, "a string")
    guard case .string(let text) = value else { throw wrongType("\(place), \(key)", "a string", value) }
    return text
  }

  /// A string; halves of surrogate pairs in it are U+FFFD, which no name and no id may hold either.
  mutating func string(_ key: String) throws -> String { try pythonString(key).text }

  mutating func string(_ key: String, default absent: String) throws -> String { try has(key) ? string(key) : absent }

  /// nil for null as for no such key.
  mutating func optionalString(_ key: String) throws -> PythonString? {
    guard let at = members.firstIndex(where: { $0.key.text == key }) else { return nil }
    if members[at].value == .none {
      members.remove(at: at)
      return nil
    }
    return try pythonString(key)
  }

  mutating func boolean(_ key: String) throws -> Bool? {
    guard let value = take(key) else { return nil }
    guard let boolean = value.asBoolean else { throw wrongType("\(place), \(key)", "a boolean", value) }
    return boolean
  }

  /// One of a few words. `orAbsent`: null is refused, and no such key is not.
  mutating func name(_ key: String, of names: [String], orAbsent: Bool = false) throws -> String? {
    guard let value = take(key), orAbsent || value != .none else { return nil }
    guard let name = value.asText, names.contains(name) else {
      throw wrong(key, names.joined(separator: ", "), value.asText ?? value.kindName)
    }
    return name
  }

  mutating func number(_ key: String, in range: ClosedRange<Double>) throws {
    guard let value = take(key) else { return }
    guard let number = value.asNumber, range.contains(number) else {
      throw wrong(key, "a number from \(range.lowerBound) to \(range.upperBound)", value.dumped())
    }
  }

  /// A whole number from 0 on, or null.
  mutating func natural(_ key: String) throws {
    guard let value = take(key), value != .none else { return }
    guard let number = value.asWholeNumber, number >= 0 else {
      throw wrong(key, "a whole number, not negative", value.dumped())
    }
  }

  /// The elements of an array with their places; nil for null as for no such key.
  mutating func list(_ key: String) throws -> [(PythonValue, place: String)]? {
    guard let value = take(key), value != .none else { return nil }
    guard case .list(let values) = value else { throw wrongType("\(place), \(key)", "an array", value) }
    return values.enumerated().map { ($1, "\(place), \(key) \($0)") }
  }

  func missing(_ key: String, _ expected: String) -> InputError { wrong(key, expected, "no such key") }

  func wrong(_ key: String, _ expected: String, _ found: String, advice: String = "") -> InputError {
    InputError(
      .wrongRequest, "\(place), \(key)", expected: expected, found: String(found.prefix(80)), advice: advice,
      exception: "ValidationError")
  }
}

private func wrongType(_ place: String, _ expected: String, _ found: PythonValue) -> InputError {
  InputError(.wrongRequest, place, expected: expected, found: found.kindName, exception: "ValidationError")
}
