import PixtralReference
import PixtralStorage
import PixtralText

/// A request for a chat completion: OpenAI's, with a few keys of vLLM's. Serving.md 3.
struct CompletionRequest: Sendable {
  /// What is rendered.
  let chat: ChatRequest
  /// How the answer is chosen.
  let options: AnswerOptions
  /// The key that says the most tokens of the answer, if one does.
  private let limitKey: String?
  /// Whether the answer comes as it is made.
  let isStream: Bool
  /// Whether a stream ends with `usage`.
  let includesUsage: Bool
  /// Whether log-probabilities are told of the answer.
  let tellsLogprobs: Bool
  /// Whether ids are told, of the prompt and of the answer.
  let tellsIDs: Bool
  /// Whether calls of tools are read from the answer.
  let readsCalls: Bool

  /// - Throws: `Refusal` that names the key; `InputError` with mistral-common's exception.
  init(_ value: PythonValue) throws {
    try Self.refuse(Self.unsupported.map(\.name), in: value)
    let keys = Keys(value)
    chat = try ChatRequest(value, place: "request", folder: ".", images: ImageLoader(), form: .openAI)

    var options = AnswerOptions()
    options.sampling = Sampling(
      temperature: chat.settings.temperature ?? 0, topP: chat.settings.topP ?? 1,
      seed: chat.settings.randomSeed ?? 0)
    limitKey = ["max_completion_tokens", "max_tokens"].first { value[$0] ?? .none != .none }
    if let limitKey { options.maxTokens = try keys.number(limitKey, in: 1...Int(Int32.max))! }
    options.stops = try keys.stops()
    tellsLogprobs = try keys.boolean("logprobs") ?? false
    let best = try keys.number("top_logprobs", in: 0...20)
    guard tellsLogprobs || (best ?? 0) == 0 else {
      throw Refusal.wrong("top_logprobs", expected: "logprobs: true beside it", found: "none")
    }
    options.best = best ?? 0
    isStream = try keys.boolean("stream") ?? false
    options.promptBest = try keys.number("prompt_logprobs", in: 0...20)
    guard options.promptBest == nil || !isStream else {
      throw Refusal.wrong("prompt_logprobs", expected: "no stream beside it", found: "stream: true")
    }
    self.options = options
    includesUsage = try keys.includesUsage(isStream: isStream)
    tellsIDs = try keys.boolean("return_token_ids") ?? false

    let choice = value["tool_choice"] ?? .none
    guard choice == .none || ["auto", "none"].contains(choice.asText) else {
      throw Refusal.wrong("tool_choice", expected: "auto or none", found: choice.dumped())
    }
    readsCalls = !chat.tools.isEmpty && choice.asText != "none"
  }

  /// How an answer is chosen that stands behind so many tokens, in a context of so many. One whose length is
  /// not asked for is as long as there is room.
  ///
  /// - Throws: `Refusal` if there is too little room.
  func options(behind prompt: Int, context: Int) throws -> AnswerOptions {
    let room = context - prompt
    guard room >= (limitKey == nil ? 1 : options.maxTokens) else {
      throw Refusal.wrong(
        limitKey ?? "messages", expected: "at most \(context) tokens with the answer",
        found: "a prompt of \(prompt) and an answer of \(limitKey == nil ? 1 : options.maxTokens)")
    }
    var options = options
    options.maxTokens = min(options.maxTokens, room)
    return options
  }

  /// Refuses keys that are not supported, unless they have the value that changes nothing.
  static func refuse(_ names: [String], in value: PythonValue) throws {
    for key in unsupported where names.contains(key.name) {
      guard let found = value[key.name], !key.isHarmless(found) else { continue }
      throw Refusal.wrong(
        key.name, expected: "\(key.harmless), for it is not supported", found: found.dumped())
    }
  }

  /// A key that would change the answer, and the only value with which it does not, but for null.
  struct Unsupported: Sendable {
    let name: String
    let harmless: String
    let isHarmless: @Sendable (PythonValue) -> Bool

    init(
      _ name: String, _ harmless: String = "null", _ isHarmless: @escaping @Sendable (PythonValue) -> Bool
    ) {
      (self.name, self.harmless) = (name, harmless)
      self.isHarmless = { $0 == .none || isHarmless($0) }
    }

    fileprivate static func null(_ name: String) -> Self { .init(name) { _ in false } }

    fileprivate static func number(_ name: String, _ numbers: Double...) -> Self {
      .init(name, numbers.map { "\(Int($0))" }.joined(separator: " or ")) {
        $0.asNumber.map(numbers.contains) ?? false
      }
    }

    fileprivate static func boolean(_ name: String, _ boolean: Bool) -> Self {
      .init(name, "\(boolean)") { $0.asBoolean == boolean }
    }

    fileprivate static func empty(_ name: String) -> Self {
      .init(name, "nothing in it") { $0 == [:] || $0 == .list([]) }
    }
  }

  /// OpenAI's and vLLM's. Serving.md 3.4 has the same list.
  static let unsupported: [Unsupported] = [
    .number("n", 1), .number("best_of", 1),
    .number("frequency_penalty", 0), .number("presence_penalty", 0), .number("repetition_penalty", 1),
    .number("top_k", 0, -1), .number("min_p", 0), .number("min_tokens", 0), .number("length_penalty", 1),
    .boolean("use_beam_search", false), .boolean("ignore_eos", false), .boolean("echo", false),
    .boolean("include_stop_str_in_output", false), .boolean("return_tokens_as_token_ids", false),
    .boolean("skip_special_tokens", true), .boolean("spaces_between_special_tokens", true),
    .boolean("add_special_tokens", false), .boolean("return_prompt_text", false),
    .empty("logit_bias"), .empty("stop_token_ids"), .empty("bad_words"), .empty("logits_processors"),
    .empty("functions"), .empty("chat_template_kwargs"), .empty("documents"), .empty("mm_processor_kwargs"),
    .init("modalities", "[\"text\"]") { $0 == .list([.string(PythonString("text"))]) },
    .init("response_format", "{\"type\": \"text\"}") { $0["type"]?.asText == "text" },
    .init("function_call", "\"none\"") { $0.asText == "none" }, .null("allowed_token_ids"),
    .null("truncate_prompt_tokens"), .null("chat_template"), .null("structured_outputs"),
    .null("guided_json"),
    .null("guided_regex"), .null("guided_choice"), .null("guided_grammar"), .null("audio"),
    .null("logprob_token_ids"), .null("thinking_token_budget"), .null("repetition_detection"),
    .null("prediction"), .null("web_search_options"), .null("verbosity"),
  ]
}

/// Keys that mistral-common does not know, taken as pydantic takes them for vLLM.
struct Keys {
  private let value: PythonValue

  init(_ value: PythonValue) { self.value = value }

  /// nil for null as for no such key.
  func boolean(_ key: String, in object: PythonValue? = nil) throws -> Bool? {
    guard let given = (object ?? value)[key], given != .none else { return nil }
    guard let boolean = given.asBoolean else {
      let key = object == nil ? key : "stream_options.\(key)"
      throw Refusal.wrong(key, expected: "a boolean", found: given.dumped())
    }
    return boolean
  }

  func number(_ key: String, in range: ClosedRange<Int>) throws -> Int? {
    guard let given = value[key], given != .none else { return nil }
    guard let number = given.asWholeNumber.flatMap(Int.init(exactly:)), range.contains(number) else {
      throw Refusal.wrong(
        key, expected: "a whole number from \(range.lowerBound) to \(range.upperBound)", found: given.dumped()
      )
    }
    return number
  }

  /// A text or some of them.
  func stops() throws -> [String] {
    guard let given = value["stop"], given != .none else { return [] }
    let texts = (given.asList ?? [given]).map(\.asText)
    guard texts.count <= 64, texts.allSatisfy({ $0 != nil && $0 != "" && $0!.utf8.count <= 4096 }) else {
      throw Refusal.wrong(
        "stop", expected: "a text, or at most 64 of them, none of them empty or longer than 4096 bytes",
        found: given.dumped())
    }
    return texts.map { $0! }
  }

  func includesUsage(isStream: Bool) throws -> Bool {
    guard let options = value["stream_options"], options != .none else { return false }
    guard options.isDictionary, isStream else {
      throw Refusal.wrong(
        "stream_options", expected: "an object, and stream: true beside it", found: options.dumped())
    }
    guard try boolean("continuous_usage_stats", in: options) != true else {
      throw Refusal.wrong(
        "stream_options.continuous_usage_stats", expected: "false, for it is not supported", found: "true")
    }
    return try boolean("include_usage", in: options) ?? false
  }
}
