import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Token files")
struct TokensFileTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func read(_ text: String) throws -> [Int] { try readTokens(folder.write("t.json", text)) }

  @Test(
    "The ids of a trace.json are found among its other keys",
    arguments: [
      #"{"taps":[{"name":"tokens","shape":[1,2]}],"tokens":[1,2],"more":{"tokens":[3]}}"#,
      #" {"tokens" : [ 1 , 2 ] } "#, #"{"t\u006fkens":[1,2]}"#,
    ])
  func inTrace(text: String) throws { #expect(try read(text) == [1, 2]) }

  @Test(
    "A batch of one, the input_ids of another runtime and the tokens of a case are lists too",
    arguments: [
      "[[1,2]]", #"{"input_ids":[[1,2]],"attention_mask":[[1,1]]}"#, #"{"id":"a","expect":{"tokens":[1,2]}}"#,
    ])
  func elsewhere(text: String) throws { #expect(try read(text) == [1, 2]) }

  @Test("A chat request is said to be one")
  func request() throws {
    #expect(try refusal { try read(#"{"messages":[]}"#) }.advice == "give it with --request")
  }

  @Test("No ids are an empty list", arguments: ["[]", #"{"tokens":[]}"#])
  func empty(text: String) throws { #expect(try read(text) == []) }

  @Test(
    "What is no list of integers is refused",
    arguments: [
      "{}", "7", "null", #"{"tokens":7}"#, #"{"tokens\u0000":[1]}"#, #"["1"]"#, "[null]", "[1.0]",
    ])
  func others(text: String) throws {
    let error = try refusal { try read(text) }
    #expect(error.kind == .wrongTokens)
    #expect(error.expected == "an array of integers, or an object with one under tokens")
  }

  @Test(
    "The rest of the file must be JSON too",
    arguments: ["[1] 2", #"{"tokens":[1],"tokens":[2]}"#, #"{"tokens":[1],"a":NaN}"#, "[1,2", "[01]"])
  func malformed(text: String) throws { #expect(try refusal { try read(text) }.kind == .malformedJSON) }

  /// Room for the ids is made when there is one, not at each bracket.
  @Test("Brackets in brackets in a large file take no memory")
  func nested() throws {
    let text = String(repeating: "[", count: 127) + String(repeating: " ", count: 8_000_000)
    #expect(try refusal { try read(text) }.kind == .malformedJSON)
  }

  @Test(
    "The sentence names what is no integer, and its place",
    arguments: [
      ("[1, 2, [3]]", "[ as element 2"), ("[1.0]", "1.0 as element 0"), ("[1, 1.5]", "1.5 as element 1"),
      ("[1e0]", "1e0 as element 0"), ("[9223372036854775808]", "9223372036854775808 as element 0"),
      ("[[1, -1e400]]", "-1e400 as element 1"), (#"{"tokens": [1, 2.0]}"#, "2.0 as element 1"),
      ("[[1], 2]", "2 behind a list"), ("[[1], [2]]", "a batch of more than one list"),
      ("[[], [2.0]]", "a batch of more than one list"),
    ])
  func element(text: String, found: String) throws {
    #expect(try refusal { try read(text) }.found == found)
  }

  @Test("Of a number that is no id the sentence says how ids are written")
  func advice() throws {
    #expect(
      try refusal { try read("[1.0]") }.description.hasSuffix(
        "t.json: expected an array of integers, or an object with one under tokens, found 1.0 as element 0; "
          + "write an id as an integer of 64 bits, without fraction and exponent"))
  }
}
