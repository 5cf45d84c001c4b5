import PixtralImage
import PixtralStorage

/// Reads chat requests as pydantic reads mistral-common's `ChatCompletionRequest`: which keys there
/// are, and of which type, with pydantic's own conversions (`"prefix": "yes"` is true,
/// `"max_tokens": "5"` is 5). Tokens.md 5.
///
/// Only what shows in the tokens, and how an answer is to be, is kept; the rest is checked and
/// forgotten.

extension ChatRequest {
  /// Reads a request file; relative image paths are relative to it, or to the current folder if it
  /// is standard input.
  ///
  /// - Parameters:
  ///   - path: the file; `-` is standard input.
  ///   - images: how chunks of type `image` are read, which hold their files.
  ///   - form: the form that the request is written in.
  /// - Throws: `InputError` of kind `wrongRequest` or `malformedJSON`, with the exception that
  ///   Python or mistral-common raises.
  public init(file path: String, images: ImageLoader = ImageLoader(), form: Form = .mistral) throws {
    let value = try MappedFile(path).withBytes { try PythonValue(json: $0, place: path) }
    let folder = MappedFile.descriptor(named: path) == nil ? PixtralStorage.folder(of: path) : "."
    try self.init(value, place: path, folder: folder, images: images, form: form)
  }

  /// Reads a request from JSON text.
  ///
  /// - Parameters:
  ///   - json: the request.
  ///   - place: named in errors.
  ///   - folder: what relative image paths are relative to.
  ///   - images: how chunks of type `image` are read, which hold their files.
  ///   - form: the form that the request is written in.
  /// - Throws: as for a file.
  public init(
    json: String, place: String = "request", folder: String = ".", images: ImageLoader = ImageLoader(),
    form: Form = .mistral
  ) throws {
    var json = json
    let value = try json.withUTF8 { try PythonValue(json: UnsafeRawBufferPointer($0), place: place) }
    try self.init(value, place: place, folder: folder, images: images, form: form)
  }

  package init(
    _ value: PythonValue, place: String, folder: String, images: ImageLoader, form: Form = .mistral
  ) throws {
    switch form {
    case .mistral: try self.init(mistral: value, place: place, images: images)
    case .openAI: try self.init(openAI: value, place: place, images: images)
    }
    self.folder = folder
  }

  private init(mistral value: PythonValue, place: String, images: ImageLoader) throws {
    var value = value
    let continues = try Self.applyContinuation(&value, place)
    self = try Self.endingFaultFirst(of: value, place, images) {
      var fields = try Fields(value, place: place, what: "an object with messages")
      guard let messages = try fields.list("messages") else { throw fields.missing("messages", "an array") }
      var request = ChatRequest(try messages.map { try Message($0, place: $1, images) })
      request.tools = try fields.list("tools")?.map(Tool.init) ?? []
      try request.takeSettings(&fields)
      try fields.finish()
      return request
    }
    continuesFinalMessage = continues
  }

  /// Reads what a request has beside messages and tools, from an object of its own.
  mutating func readSettings(_ value: PythonValue, place: String, _ images: ImageLoader) throws {
    try Self.endingFaultFirst(of: value, place, images) {
      var fields = try Fields(value, place: place, what: "an object")
      try takeSettings(&fields)
      try fields.finish()
    }
  }

  /// Most change neither a token nor the answer, but a wrong one makes the request invalid.
  private mutating func takeSettings(_ fields: inout Fields) throws {
    truncates = try fields.boolean("truncate_for_context_length") ?? false
    reasoningEffort = try fields.name(
      "reasoning_effort", of: ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
    settings = try Settings(&fields)
    _ = try fields.optionalString("model")
    _ = try fields.boolean("parallel_tool_calls")
    if let choice = fields.take("tool_choice") {
      try Self.check(toolChoice: choice, "\(fields.place), tool_choice")
    }
    if let format = fields.take("response_format") {
      try Self.check(responseFormat: format, "\(fields.place), response_format")
    }
  }

  private static func endingFaultFirst<Read>(
    of value: PythonValue, _ place: String, _ images: ImageLoader, _ read: () throws -> Read
  ) throws -> Read {
    do { return try read() } catch let error as InputError {
      throw error.exception == "ValidationError" ? endingFault(of: value, place, images) ?? error : error
    }
  }

  /// The fault that ends the reading, whatever else is wrong with a request: pydantic collects what
  /// is a ValidationError, and other exceptions pass through it. Tokens.md 5.2.
  private static func endingFault(
    of value: PythonValue, _ place: String, _ images: ImageLoader
  ) -> InputError? {
    func fault(_ body: () throws -> Void) -> InputError? {
      do { try body() } catch let error as InputError where error.exception != "ValidationError" {
        return error
      } catch {}
      return nil
    }
    for (number, message) in (value["messages"]?.asList ?? []).enumerated() {
      guard Role(rawValue: message["role"]?.asText ?? "") != nil else { continue }
      for (index, chunk) in (message["content"]?.asList ?? []).enumerated() {
        guard chunk["type"]?.asText == "image", let image = chunk["image"] else { continue }
        let place = "\(place), messages \(number), chunk \(index)"
        if let error = fault({ _ = try Chunk(image: image, place: place, images) }) { return error }
      }
    }
    let format = value["response_format"]?["json_schema"]
    guard let schema = format?["schema"] ?? format?["custom_schema"], schema.isDictionary else { return nil }
    return fault { try ToolSchema.check(schema, place: "\(place), schema", exception: "ValidationError") }
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

  private static func check(toolChoice choice: PythonValue, _ place: String) throws {
    if let word = choice.asText, ["auto", "none", "any", "required"].contains(word) { return }
    guard choice.isDictionary else {
      throw wrongType(place, "auto, none, any, required or an object", choice)
    }
    var named = try Fields(choice, place: place, what: "an object")
    _ = try named.name("type", of: ["function"], orAbsent: true)
    var function = try Fields(
      named.required("function", "an object"), place: "\(place), function", what: "an object")
    _ = try function.string("name")
    try function.finish()
    try named.finish()
  }

  private static func check(responseFormat format: PythonValue, _ place: String) throws {
    var format = try Fields(format, place: place, what: "an object")
    let type = try format.name("type", of: ["text", "json_object", "json_schema"], orAbsent: true)
    guard let schema = format.take("json_schema"), schema != .none else {
      if type == "json_schema" { throw format.missing("json_schema", "an object") }
      return try format.finish()
    }
    var named = try Fields(schema, place: "\(place), json_schema", what: "an object")
    _ = try named.string("name")
    _ = try named.optionalString("description")
    _ = try named.boolean("strict")
    // The model's own name for it; both at once are one key too many.
    let key = named.has("schema") ? "schema" : "custom_schema"
    guard let value = named.take(key) else { throw named.missing("schema", "an object") }
    guard value.isDictionary else { throw wrongType("\(named.place), \(key)", "an object", value) }
    try ToolSchema.check(value, place: "\(named.place), \(key)", exception: "ValidationError")
    try named.finish()
    try format.finish()
  }
}

extension ChatRequest.Settings {
  init(_ fields: inout Fields) throws {
    temperature = try fields.number("temperature", in: 0...1)
    topP = try fields.number("top_p", in: 0...1)
    maxTokens = try fields.natural("max_tokens")
    randomSeed = try fields.natural("random_seed")
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
        let place = "\(place), chunk \($0)"
        let chunk = try ChatRequest.Chunk($1, place: place, images)
        try role.check($1, place: place)
        return chunk
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
    if role == .tool { try takeNames(&fields) }
    try fields.finish()
  }

  /// What a tool message says of the call that it answers.
  mutating func takeNames(_ fields: inout Fields) throws {
    toolCallID = try fields.optionalString("tool_call_id")?.text
    name = try fields.optionalString("name")?.text
  }
}

extension ChatRequest.Role {
  /// Refuses a chunk that messages of this role may not have. Tokens.md 5.8.
  ///
  /// - chunk: one that has been read.
  func check(_ chunk: PythonValue, place: String) throws {
    let types =
      switch self {
      case .system: ["text", "input_audio", "thinking"]
      case .user, .tool: ["text", "image_url", "image", "input_audio", "audio_url"]
      case .assistant: ["text", "thinking"]
      }
    guard types.contains(chunk["type"]?.asText ?? "") else {
      throw InputError.request(
        "\(place), type", "no such chunk in a message of role \(self)", "one", "ValidationError")
    }
  }
}

extension ChatRequest.Chunk {
  init(_ value: PythonValue, place: String, _ images: ImageLoader) throws {
    var fields = try Fields(value, place: place, what: "an object with a type")
    switch try fields.string("type") {
    case "text": self = .init(try fields.pythonString("text"))
    case "image_url":
      let url = try fields.required("image_url", "a URL, or an object with a url")
      if url.isDictionary {
        var image = try Fields(url, place: "\(place), image_url", what: "an object with a url")
        self = .init(url: try image.pythonString("url"), place: place)
        _ = try image.optionalString("detail")
        try image.finish()
      } else if let text = url.asPythonString {
        self = .init(url: text, place: place)
      } else {
        throw wrongType("\(place), image_url", "a URL, or an object with a url", url)
      }
    case "image":
      self = try .init(image: fields.required("image", "an image in base64"), place: place, images)
    case "thinking":
      _ = try fields.string("thinking")
      _ = try fields.boolean("closed")
      self = .thinking
    case "input_audio":
      let audio = try fields.required("input_audio", "audio data")
      guard case .string(let data) = audio["data"] ?? audio,
        !data.text.unicodeScalars.allSatisfy(isPythonSpace)
      else { throw wrongType("\(place), input_audio", "audio data", audio) }
      self = .audio
    case "audio_url":
      let url = try fields.required("audio_url", "a URL, or an object with a url")
      if url.isDictionary {
        var audio = try Fields(url, place: "\(place), audio_url", what: "an object with a url")
        _ = try audio.string("url")
        try audio.finish()
      } else if url.asPythonString == nil {
        throw wrongType("\(place), audio_url", "a URL, or an object with a url", url)
      }
      self = .audio
    case let other: throw fields.wrong("type", "text or image_url", other)
    }
    try fields.finish()
  }

  /// A chunk of type `image_url`. Python opens no file whose name holds half of a surrogate pair.
  fileprivate init(url: PythonString, place: String) {
    guard url.hasHalfSurrogate else {
      self = .image(url.text)
      return
    }
    let isFile = url.text.utf8.starts(with: "file://".utf8)
    self = .loaded(
      .failure(
        .request(
          "\(place), image_url", "Unicode text", "half of a surrogate pair",
          isFile ? "UnicodeEncodeError" : "ValueError")))
  }

  /// A chunk of type `image`: base64, with or without the words of a `data:` URL around it. It is
  /// opened while the request is read. Tokens.md 9.6.
  fileprivate init(image: PythonValue, place: String, _ images: ImageLoader) throws(InputError) {
    func refuse(_ found: String, _ exception: String) -> InputError {
      .request("\(place), image", "an image in base64", found, exception)
    }
    guard case .string(let data) = image else { throw refuse(image.kindName, "AttributeError") }
    var payload = Substring(data.text).utf8
    if payload.starts(with: "data:".utf8) {
      guard let found = dataURLPayload(payload) else { throw refuse(data.text, "ValidationError") }
      payload = found
    }
    guard !data.hasHalfSurrogate, let bytes = decodeBase64(payload) else {
      throw refuse(data.text, "RuntimeError")
    }
    do throws(InputError) {
      self = .loaded(.success(try LoadedImage(.data(bytes), place: place, images)))
    } catch let error where error.kind == .brokenImage {
      self = .loaded(.failure(error))
    } catch {
      // What Pillow reads and this does not has no exception.
      throw error.exception == nil ? error : error.raised(as: "RuntimeError")
    }
  }

  init(_ text: PythonString) { self = text.hasHalfSurrogate ? .brokenText : .text(text.text) }
}

extension ChatRequest.ToolCall {
  init(_ value: PythonValue, place: String) throws {
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
  init(_ value: PythonValue, place: String) throws {
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
