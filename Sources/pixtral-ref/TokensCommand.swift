import ArgumentParser
import PixtralProgram
import PixtralStorage
import PixtralText

struct TokensCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokens",
    abstract: "Render chat requests with the V7 template, encode texts, decode tokens.",
    discussion: """
      A request gives {"tokens", "text", "images": [{"width", "height", "columns", "rows"}]} on one \
      line. text is written as mistral-common writes it: pieces one after another, ▁ for a space, \
      control tokens by name. A text gives {"tokens", "pieces"}, without a token for its beginning.

      Many, from standard input, a line each, are answered in order:
        {"id", "request": {…}}               {"id", "tokens", "text", "images"}
        {"id", "fim": {"prompt", "suffix"}}  {"id", "tokens", "text"}
        {"id", "text": "…"}                  {"id", "tokens", "pieces"}
        {"id", "tokens": […]}                {"id", "text"}
      What is refused gives {"id", "error": {"type", "message"}}, with the class of mistral-common's \
      exception, and the stream goes on; where no id can come back, "line" is the number of the line. Image \
      paths are relative to the folder that the program runs in.

      With --form openai, requests are OpenAI's: they are turned into mistral-common's as its \
      ChatCompletionRequest.from_openai does, which drops keys that it does not know, and prefix too. \
      Docs/Tokens.md has the rules.
      """)

  @Option(help: "A chat request as JSON; image paths in it are relative to the file.")
  var request: String?

  @Option(parsing: .unconditional, help: "A text, encoded on its own.")
  var text: String?

  @Option(help: "A request to fill in the middle as JSON: {\"prompt\", \"suffix\"}.")
  var fim: String?

  @Flag(help: "Answer lines of standard input.")
  var jsonl = false

  @Flag(
    help: "Answer lines of standard input with tokens: the text that they come to, without control tokens.")
  var decode = false

  @Option(
    name: .customLong("as"),
    help: "The release of mistral-common to render valid requests as, from \(Release.earliest) on.",
    transform: { text in
      guard let release = Release(text) else {
        throw ValidationError("known are the releases from \(Release.earliest) to \(Release.current)")
      }
      return release
    })
  var release = Release.current

  @Option(help: "The form of requests.")
  var form = ChatRequest.Form.mistral

  @Option(parsing: .unconditional, help: "What a request with truncate_for_context_length is cut to.")
  var maxTokens: Int?

  @OptionGroup var limit: PixelLimit

  @OptionGroup var tokenizer: TokenizerFile

  /// What is no option of this command. The parser alone would speak of it only where nothing else
  /// is wrong.
  @Argument(parsing: .allUnrecognized, help: .hidden)
  var unknown: [String] = []

  func validate() throws {
    if let argument = unknown.first { throw ValidationError(mistake(in: argument)) }
    let modes = [request != nil, text != nil, fim != nil, jsonl || decode].filter { $0 }.count
    guard modes == 1 else {
      throw ValidationError("Give one of --request, --text, --fim, --jsonl and --decode, and only one.")
    }
    guard maxTokens ?? 0 >= 0 else { throw ValidationError("--max-tokens must be 0 or more.") }
    guard form == .mistral || release.hasOpenAIForm else {
      throw ValidationError("--form openai is there --as \(Release.earliestOfOpenAIForm) and later.")
    }
  }

  private func mistake(in argument: String) -> String {
    if argument.hasPrefix("-") && argument != "-" {
      let options = [
        "request", "text", "fim", "jsonl", "decode", "as", "form", "max-tokens", "max-pixels", "tokenizer",
      ]
      return
        "There is no option '\(argument)'; there are \(options.map { "--\($0)" }.joined(separator: ", "))."
    }
    if decode || jsonl {
      return """
        '\(argument)' is one argument too many: questions come from standard input, a line each, such as \
        {"tokens": [1, 3]}.
        """
    }
    return """
      '\(argument)' is one argument too many; write --request '\(argument)' if it is a file with a request, \
      --text '\(argument)' if it is a text.
      """
  }

  func run() throws {
    let template = V7Template(tokenizer: try tokenizer.read(), release: release)
    let service = TokensService(
      template, form: form, maxPixels: limit.maxPixels, maxTokens: maxTokens
    ) {
      Console.warn(of: $0.orientation, $1)
    }
    if let request {
      Console.out(bytes: try service.answer(requestFile: request))
    } else if let fim {
      Console.out(bytes: try service.answer(FillInRequest(file: fim)))
    } else if let text {
      Console.out(bytes: service.answer(text: text))
    } else {
      try answerLines(service)
    }
  }

  /// Answers are collected while more questions wait and written when none does, so that a program
  /// may ask one by one.
  ///
  /// - Throws: `InputError` if standard input cannot be read, once what came is answered.
  private func answerLines(_ service: TokensService) throws {
    let lines = InputLines()
    var answers: [UInt8] = []
    defer { Console.out(bytes: answers) }
    var number = 0
    while let line = try lines.next() {
      number += 1
      if let answer = service.answer(line, number: number) { answers += answer }
      if try answers.count > 1 << 16 || !lines.hasNext() {
        Console.out(bytes: answers)
        answers.removeAll(keepingCapacity: true)
      }
    }
  }
}
