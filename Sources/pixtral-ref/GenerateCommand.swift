import ArgumentParser
import PixtralProgram
import PixtralReference
import PixtralStorage
import PixtralText

struct GenerateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Answer a chat request, a token at a time.",
    discussion: """
      Writes the assistant's message to standard output as it comes. With --json one object instead:
        text, tokens        the answer, and its ids; </s> is one of them, and is no text
        logprobs            of each token, the natural logarithm of its probability, before any temperature
        top_logprobs        with --logprobs K, of each position the K most likely tokens
        tool_calls          the calls behind [TOOL_CALLS], if the answer has it and they can be read
        tool_calls_problem  why they cannot be read; the answer is then text
        finish_reason       stop, length, tool_calls; forced with --force
        usage               prompt_tokens, completion_tokens, total_tokens

      The answer is greedy, of 256 tokens at most, unless an option or the request itself (temperature, \
      top_p, max_tokens, random_seed) says otherwise; an option has the last word. Docs/Answer.md has the \
      rules, down to the generator of random numbers.

      The golden answer to a photo:
        pixtral-ref generate --request photo.json --max-tokens 64 --logprobs 5 --json
      The table that another runtime's answer is judged by:
        pixtral-ref generate --request photo.json --force tokens.json --logprobs 20 --json
      The model card's system prompt, of a day that does not change:
        pixtral-ref generate --request photo.json --system-prompt SYSTEM_PROMPT.txt --today 2024-11-18
      """)

  @Option(
    help: """
      seeded:tiny, seeded:small, seeded:pixtral-large, or a folder in Mistral's or Hugging Face's layout.
      """)
  var checkpoint = "seeded:tiny"

  @Option(help: "A chat request as JSON; image paths in it are relative to the file.")
  var request: String

  @Option(
    help: """
      The form of the request; with openai, OpenAI's becomes mistral-common's as its from_openai does it \
      (max_tokens, temperature, top_p and seed hold; stop is given with --stop).
      """)
  var form = ChatRequest.Form.mistral

  @Option(help: "The arithmetic, float32 or float64.")
  var precision = Precision.float32

  @Option(help: "The most tokens. (default: as the request says, or 256)")
  var maxTokens: Int?

  @Option(help: "Divides the logits; 0 takes the most likely token. (default: as the request says, or 0)")
  var temperature: Double?

  @Option(
    help: """
      What the probabilities of the tokens to choose from come to, the most likely first. (default: as the \
      request says, or 1)
      """)
  var topP: Double?

  @Option(help: "The same seed gives the same answer. (default: as the request says, or 0)")
  var seed: UInt64?

  @Option(
    parsing: .unconditionalSingleValue,
    help: "A text that ends the answer and is no part of it; may be given several times.")
  var stop: [String] = []

  @Option(help: "How many of the most likely tokens are shown of each position.")
  var logprobs = 0

  @Option(
    help: """
      A JSON file with the tokens of an answer, [3, …] or {"tokens": […]}: they are fed instead of those \
      that would be chosen, and every one's log-probability comes out.
      """)
  var force: String?

  @Option(
    help: """
      A text file that becomes the first system message, with {name}, {today} and {yesterday} filled in as \
      the model card does it.
      """)
  var systemPrompt: String?

  @Option(help: "With --system-prompt: the name of the model. (default: \(Self.usualName))")
  var name: String?
  private static let usualName = "Pixtral-Large-Instruct-2411"

  @Option(
    help: "With --system-prompt: a day, such as 2024-11-18. (default: today)",
    transform: { text in
      guard let day = Day(text) else { throw ValidationError("expected a day, such as 2024-11-18") }
      return day
    })
  var today: Day?

  @Flag(help: "One JSON object instead of text.")
  var json = false

  @OptionGroup var limit: PixelLimit

  @OptionGroup var tokenizer: TokenizerFile

  func validate() throws {
    guard maxTokens ?? 1 >= 1 else { throw ValidationError("--max-tokens must be 1 or more.") }
    guard (temperature ?? 0) >= 0, (temperature ?? 0).isFinite else {
      throw ValidationError("--temperature must be a finite number, 0 or more.")
    }
    guard (0...1).contains(topP ?? 0) else { throw ValidationError("--top-p must be from 0 to 1.") }
    guard !stop.contains("") else { throw ValidationError("--stop must be some text.") }
    guard (0...1000).contains(logprobs) else {
      throw ValidationError("--logprobs must be from 0 to 1000; pixtral-ref trace keeps all logits.")
    }
    guard systemPrompt != nil || (name == nil && today == nil) else {
      throw ValidationError("--name and --today go with --system-prompt.")
    }
    guard [request, force, systemPrompt].count(where: { $0 == "-" }) <= 1 else {
      throw ValidationError("Only one of --request, --force and --system-prompt can be -.")
    }
    let chooses = maxTokens != nil || temperature != nil || topP != nil || seed != nil || !stop.isEmpty
    guard force == nil || !chooses else {
      throw ValidationError(
        "--force gives the tokens: --max-tokens, --temperature, --top-p, --seed and --stop do not go with it."
      )
    }
  }

  func run() throws {
    try BLAS.begin()
    keepFreedMemory()
    let checkpoint = try Checkpoint(checkpoint)
    for warning in checkpoint.warnings { Console.warn(warning) }
    switch precision {
    case .float32: try answer(Pixtral<Float>(checkpoint))
    case .float64: try answer(Pixtral<Double>(checkpoint))
    }
  }

  private func answer<Scalar>(_ model: Pixtral<Scalar>) throws {
    let tokenizer = try tokenizer.read()
    let loader = ImageLoader(maxPixels: limit.maxPixels)
    let request = try readRequest(loader)
    let prompt = try model.prompt(of: request, tokenizer: tokenizer, images: loader)
    let forced = try force.map { try readTokens($0) }

    let length = counted(prompt.tokens.count, "token")
    let progress = LayerProgress(
      of: "a prompt of \(length)" + (forced.map { " and an answer of \($0.count)" } ?? ""),
      dtype: precision.dtype, forced: forced?.count ?? 0)
    let trace = Trace(progress)
    var isInMiddle = false
    let answer: Answer
    do {
      defer { progress.end() }
      if let forced {
        answer = try model.answer(prompt, forced: forced, tokenizer: tokenizer, best: logprobs, trace: trace)
      } else {
        answer = try model.answer(prompt, tokenizer: tokenizer, options: options(request), trace: trace) {
          _, text in
          progress.end()
          if json { return }
          Console.stream(text)
          isInMiddle = isInMiddle || !text.isEmpty
        }
      }
      try model.checkpoint.checkWhole()
    } catch {
      // What is said of it begins a line of its own.
      if isInMiddle { Console.stream("\n") }
      throw error
    }
    let report = AnswerReport(answer, calls: try tokenizer.calls(in: answer.tokens.map(\.id)))
    if json { return Console.out(report.json.text()) }
    if forced != nil { Console.stream(answer.text) }
    Console.stream("\n")
    if let problem = report.calls.problem { Console.warn("the answer's calls stay text: \(problem)") }
    if logprobs > 0 || forced != nil { Console.message(report.table(tokenizer).joined(separator: "\n")) }
  }

  private func readRequest(_ loader: ImageLoader) throws -> ChatRequest {
    var request = try ChatRequest(file: self.request, images: loader, form: form)
    guard let systemPrompt else { return request }
    let text = try MappedFile(systemPrompt).withBytes { bytes in
      guard let text = String(validating: bytes, as: UTF8.self) else {
        throw InputError(.unreadableFile, systemPrompt, expected: "text in UTF-8", found: "other bytes")
      }
      return text
    }
    try request.prepend(
      systemPrompt: text, name: name ?? Self.usualName, today: today ?? .today, place: systemPrompt)
    return request
  }

  private func options(_ request: ChatRequest) -> AnswerOptions {
    var options = AnswerOptions()
    let settings = request.settings
    options.sampling = Sampling(
      temperature: temperature ?? settings.temperature ?? 0, topP: topP ?? settings.topP ?? 1,
      seed: seed ?? settings.randomSeed ?? 0)
    options.maxTokens = maxTokens ?? settings.maxTokens.map { Int(clamping: $0) } ?? options.maxTokens
    options.stops = stop
    options.best = logprobs
    return options
  }
}

/// Says which layer a run is at, until it is told to end. Refuses one that does not fit in memory.
private final class LayerProgress: TraceRecorder {
  private let input: String
  private let dtype: DType
  private let forced: Int
  private var hasEnded = false

  /// - input: what is read.
  /// - dtype: what is computed in.
  /// - forced: tokens of an answer that is given.
  init(of input: String, dtype: DType, forced: Int) {
    (self.input, self.dtype, self.forced) = (input, dtype, forced)
  }

  func begin(_ prompt: PromptShape, taps: [PlannedTap]) throws {
    try RunMemory(dtype: dtype, advice: "a shorter request").add(
      taps.filter { !$0.onDemand }, for: prompt, answer: forced)
  }

  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) {
    if !hasEnded { Console.progress("reading \(input): \(name)") }
  }

  func end() {
    if !hasEnded { Console.progress("") }
    hasEnded = true
  }
}
