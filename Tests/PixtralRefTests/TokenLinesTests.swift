import PixtralStorage
import TestSupport
import Testing

@testable import PixtralText

/// `tokens --jsonl`: ids, and lines that ask nothing that can be answered.
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
    let error = try self.error(line)
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
  func wrongType(line: String, said: String) throws { #expect(try error(line)["message"]?.string == said) }

  @Test(
    "A number that is no id of the vocabulary is named as it stands there",
    arguments: [
      ("[9223372036854775808]", "token 0", "9223372036854775808"),
      ("[1, -9223372036854775809]", "token 1", "-9223372036854775809"),
      ("[32768, 9223372036854775808]", "token 0", "32768"),
    ])
  func noToken(tokens: String, place: String, number: String) throws {
    let error = try self.error(#"{"tokens": \#(tokens)}"#)
    #expect(error["message"]?.string == "\(place): expected an id from 0 to 32767, found \(number)")
    #expect(error["type"]?.string == "IndexError")
  }

  @Test(
    "An id comes back as a value that is equal to it",
    arguments: [
      "1", "-0.5", "1e300", "123456789012345678901234567890", #""a\n\u001b\"\\é""#, "null",
      #"[1, {"a": true}]"#,
    ])
  func ids(id: String) throws {
    let answer = try PythonValue(parsing: answer(#"{"id": \#(id), "text": ""}"#))
    #expect(try answer["id"] == PythonValue(parsing: id))
  }

  @Test(
    "An id that JSON cannot hold is refused, and the answer has the number of the line",
    arguments: [
      ("1e400", "NaN or a number beyond the range of a double; write it as a string"),
      ("-1e400", "NaN or a number beyond the range of a double; write it as a string"),
      ("NaN", "NaN or a number beyond the range of a double; write it as a string"),
      (#"{"a": [Infinity]}"#, "NaN or a number beyond the range of a double; write it as a string"),
      (#""\ud800""#, "half of a surrogate pair"), (#"{"\udc00": 1}"#, "half of a surrogate pair"),
    ])
  func wrongID(id: String, found: String) throws {
    let answer = try JSON(parsing: answer(#"{"id": \#(id), "text": ""}"#), place: "answer")
    #expect(answer["id"] == .null)
    #expect(answer["line"] == .integer(1))
    #expect(
      answer["error"]?["message"]?.string
        == "line 1, id: expected a value that comes back as it is, found \(found)")
  }

  @Test("A sentence is the same text in an answer as on a terminal, where control characters are written out")
  func sameSentence() throws {
    let content = #"[{"type": "image_url", "image_url": "no\nne\u001b.png"}]"#
    let request = #"{"messages": [{"role": "user", "content": \#(content)}]}"#
    let sentence = #"./no\nne\u001b.png: expected a readable file, found No such file or directory"#
    #expect(try error(#"{"request": \#(request)}"#)["message"]?.string == sentence)
    try folder.write("request.json", request)
    #expect(
      try shell("\"$0\" tokens --request request.json", in: folder.path).error == "Error: \(sentence)\n")
  }

  private func error(_ line: String) throws -> JSON {
    try #require(JSON(parsing: answer(line), place: "answer")["error"])
  }

  private func answer(_ line: String) throws -> String {
    let file = try folder.write("line", line)
    return try shell("\"$0\" tokens --jsonl < \(file)", in: folder.path).out
  }
}
