import PixtralStorage
import TestSupport
import Testing

/// `tokens --jsonl`: lines that ask nothing that can be answered.
@Suite("Lines of questions")
struct TokenLinesTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test(
    "A line that asks nothing is answered with what it may ask",
    arguments: [
      (#"{"messages": []}"#, #"write {"id": 1, "request": …} around the request"#),
      (#"{"prompt": "a"}"#, #"write {"id": 1, "fim": …} around the request"#),
      (#"[1, 3]"#, #"write {"tokens": [1, 3]} for an array of tokens"#),
      (#"{"id": 1, "txt": "a"}"#, #"found a key "txt""#),
      (#"{"id": 1, "text": "a", "more": 2}"#, #"found a key "more""#),
      (#"{"id": 1, "text": "a", "tokens": [1]}"#, #"found "text" and "tokens""#),
      (#"{"id": 1}"#, "found none of them"), ("5", "found a number"),
    ])
  func nothingAsked(line: String, said: String) throws {
    let error = try answered(line)
    #expect(error["type"]?.string == "ValidationError")
    let message = try #require(error["message"]?.string)
    #expect(message.hasPrefix("line 1: expected an object of id and one of request, fim, text, tokens"))
    #expect(message.contains(said))
  }

  @Test(
    "A question of another type is named",
    arguments: [
      (#"{"text": 5}"#, "line 1, text: expected a string, found a number"),
      (#"{"tokens": "a"}"#, "line 1, tokens: expected an array of tokens, found a string"),
    ])
  func wrongType(line: String, said: String) throws { #expect(try answered(line)["message"]?.string == said) }

  private func answered(_ line: String) throws -> JSON {
    let file = try folder.write("line", line)
    let out = try shell("\"$0\" tokens --jsonl < \(file)", in: folder.path).out
    return try #require(JSON(parsing: out, place: "answer")["error"])
  }
}
