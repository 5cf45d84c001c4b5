import PixtralImage
import PixtralStorage

/// Reads chat requests as pydantic reads mistral-common's `ChatCompletionRequest`: which keys there
/// are, and of which type, with pydantic's own conversions (`"prefix": "yes"` is true,
/// `"max_tokens": "5"` is 5). Tokens.md 5.
///
/// Only what shows in the tokens is kept; the rest is checked and forgotten.

extension ChatRequest {
  /// Reads a request file; relative image paths are relative to it.
  ///
  /// - Parameters:
  ///   - path: the file.
  ///   - images: how chunks of type `image` are read, which hold their files.
  /// - Throws: `InputError` of kind `wrongRequest` or `malformedJSON`, with the exception that
  ///   Python or mistral-common raises.
  public init(file path: String, images: ImageLoader = ImageLoader()) throws {
    let value = try MappedFile(path).withBytes { try PythonValue(json: $0, place: path) }
    try self.init(value, place: path, folder: PixtralStorage.folder(of: path), images: images)
  }

  /// Reads a request from JSON text.
  ///
  /// - Parameters:
  ///   - json: the request.
  ///   - place: named in errors.
  ///   - folder: what relative image paths are relative to.
  ///   - images: how chunks of type `image` are read, which hold their files.
  /// - Throws: as for a file.
  public init(
    json: String, place: String = "request", folder: String = ".", images: ImageLoader = ImageLoader()
  ) throws {
    var json = json
    let value = try json.withUTF8 { try PythonValue(json: UnsafeRawBufferPointer($0), place: place) }
    try self.init(value, place: place, folder: folder, images: images)
  }

  package init(_ value: PythonValue, place: String, folder: String, images: ImageLoader) throws {
    var value = value
    let continues = try Self.applyContinuation(&value, place)
    var fields = try Fields(value, place: place, what: "an object with messages")
    messages =
      try fields.list("messages").map { try $0.map { try Message($0, place: $1, images) } }
      ?? { throw fields.missing("messages", "an array") }()
    tools = try fields.list("tools")?.map(Tool.init) ?? []
    truncates = try fields.boolean("truncate_for_context_length") ?? false
    reasoningEffort = try fields.name(
      "reasoning_effort", of: ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
    try Self.checkSettings(&fields)
    try fields.finish()
    continuesFinalMessage = continues
    self.folder = folder
  }

  /// `continue_final_message` marks the last message as one to be continued. mistral-common does
  /// this before it looks at anything else.
  ///
  /// - Returns: whether it did so to a message that has not marked itself.
  private static func applyContinuation(_ value: inout PythonValue, _ place: String) throws -> Bool {
    let key = "continue_final_message"
    guard case .dictionary(var members) = value, let at = members.firstIndex(where: { $0.key.text == key })
    else { return false }
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
    if let prefix = last["prefix"], prefix.asBoolean == nil {
      throw wrongType("\(place), prefix", "a boolean", prefix)
    }
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
          named.required("function", "an object"), place: "\(fields.place), tool_choice, function",
          what: "an object")
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
        guard case .dictionary? = schema.take("schema") ?? given else {
          throw schema.missing("schema", "an object")
        }
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
  static func checkSampling(_ fields: inout Fields) throws {
    try fields.number("temperature", in: 0...1)
    try fields.number("top_p", in: 0...1)
    try fields.natural("max_tokens")
    try fields.natural("random_seed")
  }
}

extension ChatRequest.Message {
  fileprivate init(_ value: PythonValue, place: String, _ images: ImageLoader) throws {
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
      content = try chunks.enumerated().map {
        try ChatRequest.Chunk($1, place: "\(place), chunk \($0)", in: role, images)
      }
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
  fileprivate init(
    _ value: PythonValue, place: String, in role: ChatRequest.Role, _ images: ImageLoader
  ) throws {
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
      // An image in base64, without the words of a URL around it.
      let data = try fields.string("image")
      do throws(InputError) {
        let location = try ImageLocation(
          data.utf8.starts(with: "data:".utf8) ? data : "data:;base64,\(data)", place: place, folder: ".")
        self = .loaded(try images.load(location, place: place))
      } catch {
        throw error.raised(
          as: error.kind == .wrongRequest && data.utf8.starts(with: "data:".utf8)
            ? "ValidationError" : "RuntimeError")
      }
    case "thinking":
      _ = try fields.string("thinking")
      _ = try fields.boolean("closed")
      self = .thinking
    case "input_audio":
      let audio = try fields.required("input_audio", "audio data")
      guard (audio["data"] ?? audio).asText?.isEmpty == false else {
        throw wrongType("\(place), input_audio", "audio data", audio)
      }
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
      case (.image, _), (.loaded, _): role == .user || role == .tool
      case (.audio, _): role != .assistant
      case (.thinking, _): role == .system || role == .assistant
      }
    guard allowed else { throw fields.wrong("type", "no such chunk in a message of role \(role)", "one") }
  }

  fileprivate init(_ text: PythonString) { self = text.hasHalfSurrogate ? .brokenText : .text(text.text) }
}

extension ChatRequest.ToolCall {
  fileprivate init(_ value: PythonValue, place: String) throws {
    var fields = try Fields(value, place: place, what: "an object with id and function")
    id = try fields.string("id", default: "null")
    _ = try fields.name("type", of: ["function"], orAbsent: true)
    var function = try Fields(
      fields.required("function", "an object with name and arguments"), place: "\(place), function",
      what: "an object")
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
      fields.required("function", "an object with name and parameters"), place: "\(place), function",
      what: "an object")
    name = try function.string("name")
    description = try function.has("description") ? function.pythonString("description") : PythonString("")
    parameters = try function.required("parameters", "a JSON schema")
    guard parameters.isDictionary else {
      throw wrongType("\(place), parameters", "a JSON schema, an object", parameters)
    }
    _ = try function.boolean("strict")
    try function.finish()
    try fields.finish()
  }
}
