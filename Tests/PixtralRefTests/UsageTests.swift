import TestSupport
import Testing

/// Wrong usage is named, with what there is instead.
@Suite("Wrong usage")
struct UsageTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test(
    "The message names the mistake and the possibilities",
    arguments: [
      (
        "tokns --text a",
        "There is no command 'tokns'; there are trace, generate, tokens, image, compare, serve, checkpoint, conformance, demo, help."
      ),
      ("trace", "Missing expected argument '--out <out>'"),
      ("trace --out x", "Give one of --request, --requests and --tokens."),
      ("compare a", "Missing expected argument '<candidate>'"),
      ("tokens photo.json", "'photo.json' is one argument too many; write --request 'photo.json' if"),
      ("tokens --text a b", "'b' is one argument too many; write --request 'b' if"),
      (
        "tokens --decode '[1,3]'",
        #"questions come from standard input, a line each, such as {"tokens": [1, 3]}."#
      ),
      ("tokens --txt a", "There is no option '--txt'; there are --request, --text, --fim, --jsonl,"),
      ("tokens --requests=a", "There is no option '--requests=a'; there are --request,"),
      (
        "tokens --text a --as 9.9.9",
        "'9.9.9' is invalid for '--as <as>': known are the releases from 1.5.0 to 1.13.1"
      ),
      ("tokens --text a --as 1.4.0", "known are the releases from 1.5.0 to 1.13.1"),
      ("tokens --max-tokens -1 --text a", "--max-tokens must be 0 or more."),
      ("tokens", "Give one of --request, --text, --fim, --jsonl and --decode, and only one."),
      (
        "tokens --text a --jsonl", "Give one of --request, --text, --fim, --jsonl and --decode, and only one."
      ),
      ("tokens $'--x\\e[31m'", #"There is no option '--x\u001b[31m'"#),
    ])
  func named(arguments: String, said: String) throws {
    let result = try shell("\"$0\" \(arguments)", in: folder.path)
    #expect(result.code == 64)
    #expect(result.out.isEmpty)
    #expect(result.error.contains(said), "\(result.error)")
    #expect(!result.error.contains("\u{1b}"))
  }

  @Test("A text may begin with a hyphen")
  func hyphen() throws {
    let result = try shell("\"$0\" tokens --text '-5 x'", in: folder.path)
    #expect(result.out == "{\"tokens\":[1155,29550,2086],\"pieces\":[\"▁-\",\"5\",\"▁x\"]}\n")
  }
}
