import ArgumentParser
import PixtralReference

struct TokensCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokens",
    abstract: "Render a chat request with the V7 template.",
    discussion: """
      Prints {"tokens": […], "text": "…", "images": [{"width", "height", "columns", "rows"}…]} on one line. text is written as \
      mistral-common writes it: pieces one after another, ▁ for a space, control tokens by name.

      System, user and assistant messages are rendered, with text and images. Tools and prefixes are refused.
      """)

  @Option(help: "A chat request as JSON; image paths in it are relative to the file.")
  var request: String

  @Option(help: "The SentencePiece model; found in Fixtures without this.")
  var tokenizer: String?

  func run() throws {
    let tokenizer = try Tokenizer(file: tokenizerPath(tokenizer))
    let rule = ImageRule.m1
    let prompt = try Prompt(ChatRequest(file: request), tokenizer: tokenizer, imageRule: rule)
    let line: JSON = [
      "tokens": .array(prompt.tokens.map(JSON.integer)), "text": .string(tokenizer.text(of: prompt.tokens)),
      "images": .array(prompt.shapes(patchSize: rule.patchSize).map(\.json)),
    ]
    Console.out(line.text())
  }
}
