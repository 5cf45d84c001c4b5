import PixtralImage
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralText

/// Tokens.md 14. What is expected is what mistral-common 1.13.1 answers to the same.
@Suite("Chat requests in OpenAI's form")
struct OpenAIRequestTests {
  let tokenizer: Tokenizer

  init() throws { tokenizer = try fixtureTokenizer() }

  /// The pieces that a request comes to.
  private func rendered(_ json: String, as release: Release = .current) throws -> String {
    let request = try ChatRequest(json: json, form: .openAI)
    let grids = request.loadImages().map { $0.map { ImageRule.m1.grid($0.size) } }
    let template = V7Template(tokenizer: tokenizer, release: release)
    return tokenizer.text(of: try template(request, grids: grids).tokens)
  }

  /// The class of the exception that it is refused with.
  private func exception(_ json: String) throws -> String? { try refusal { try rendered(json) }.exception }

  private static let user = #"{"role": "user", "content": "Hi"}"#
  private static let hi = "<s>[INST]▁Hi[/INST]"

  /// A request with one question, and these keys beside its messages.
  private func asking(_ keys: String) -> String { #"{"messages": [\#(Self.user)], \#(keys)}"# }

  /// A request that ends with this message.
  private func ending(with message: String) -> String { #"{"messages": [\#(Self.user), \#(message)]}"# }

  // MARK: 14.1, 14.2

  @Test(
    "Keys that mistral-common does not know are dropped, whatever they hold",
    arguments: [
      #"{"messages": [{"role": "user", "content": "Hi"}], "stop": [], "stream": true, "n": 5, "x": null}"#,
      #"{"messages": [{"role": "user", "content": "Hi", "name": 5, "tool_calls": 5}]}"#,
      #"{"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "x": 1}]}]}"#,
    ])
  func dropped(json: String) throws { #expect(try rendered(json) == Self.hi) }

  @Test(
    "What is no object with messages is no call of Python", arguments: ["[]", #""messages""#, "5", "{}"])
  func noKeywords(json: String) throws { #expect(try exception(json) == "TypeError") }

  @Test("The name of Python's own argument is none of the request's")
  func ownArgument() throws { #expect(try exception(asking(#""cls": 1"#)) == "TypeError") }

  @Test("seed and random_seed exclude one another, even null, before all messages")
  func seeds() throws {
    #expect(try exception(#"{"messages": [5], "seed": null, "random_seed": 1}"#) == "ValueError")
  }

  // MARK: 14.3, 14.4

  @Test(
    "messages is what Python goes through and finds objects in",
    arguments: [
      ("null", "TypeError"), ("5", "TypeError"), (#""Hi""#, "AttributeError"),
      (#"{"role": "user"}"#, "AttributeError"), (#"["Hi"]"#, "AttributeError"),
      (#""""#, "InvalidMessageStructureException"), ("{}", "InvalidMessageStructureException"),
    ])
  func messages(value: String, expected: String) throws {
    #expect(try exception(#"{"messages": \#(value)}"#) == expected)
  }

  @Test("developer is another name of system")
  func developer() throws {
    let json = #"{"messages": [{"role": "developer", "content": "s"}, \#(Self.user)]}"#
    #expect(try rendered(json) == "<s>[SYSTEM_PROMPT]▁s[/SYSTEM_PROMPT][INST]▁Hi[/INST]")
  }

  @Test(
    "Any other role is a ValueError, and so is none",
    arguments: [
      #"{"content": "Hi"}"#, #"{"role": "function"}"#, #"{"role": null}"#, #"{"role": ["user"]}"#,
    ])
  func roles(message: String) throws {
    #expect(try exception(#"{"messages": [\#(message)]}"#) == "ValueError")
  }

  @Test("prefix is dropped: it closes nothing and opens nothing")
  func prefix() throws {
    let answer = #"{"role": "assistant", "content": "a", "prefix": true}"#
    #expect(
      try rendered(#"{"messages": [\#(Self.user), \#(answer), \#(Self.user)]}"#)
        == "<s>[INST]▁Hi[/INST]▁a</s>[INST]▁Hi[/INST]")
    #expect(try exception(ending(with: answer)) == "InvalidMessageStructureException")
  }

  @Test("A message is done before the next is looked at")
  func messageOrder() throws {
    #expect(try exception(#"{"messages": [{"role": "user", "content": null}, 5]}"#) == "ValidationError")
    #expect(try exception(#"{"messages": [5, {"role": "user", "content": null}]}"#) == "AttributeError")
  }

  // MARK: 14.5

  @Test(
    "content is a string or an array",
    arguments: [
      (#"{"role": "user"}"#, "KeyError"), (#"{"role": "user", "content": null}"#, "ValidationError"),
      (#"{"role": "user", "content": 5}"#, "ValueError"),
      (#"{"role": "system", "content": {"type": "text", "text": "Hi"}}"#, "ValueError"),
      (#"{"role": "assistant", "content": true}"#, "ValueError"),
    ])
  func content(message: String, expected: String) throws {
    #expect(try exception(#"{"messages": [\#(message)]}"#) == expected)
  }

  @Test(
    "A chunk is an object of a known type, with what that type has",
    arguments: [
      (#""Hi""#, "AttributeError"), (#"{"text": "Hi"}"#, "ValueError"),
      (#"{"type": "refusal", "refusal": "no"}"#, "ValueError"), (#"{"type": ["text"]}"#, "ValueError"),
      (#"{"type": "text"}"#, "ValidationError"), (#"{"type": "text", "text": 5}"#, "ValidationError"),
      (#"{"type": "image_url"}"#, "KeyError"), (#"{"type": "image_url", "image_url": 5}"#, "ValidationError"),
      (#"{"type": "audio_url", "audio_url": {"x": 1}}"#, "ValidationError"),
    ])
  func chunks(chunk: String, expected: String) throws {
    #expect(try exception(#"{"messages": [{"role": "user", "content": [\#(chunk)]}]}"#) == expected)
  }

  @Test("A chunk of type image is an AssertionError, whatever it holds")
  func imageChunk() throws {
    let chunk = #"{"type": "image", "image": 5}"#
    #expect(try exception(#"{"messages": [{"role": "user", "content": [\#(chunk)]}]}"#) == "AssertionError")
  }

  /// 2×1 pixels.
  private static let picture =
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAD0lEQVR4nGNgYGBgYGAAAAAHAAFXIWIZAAAAAElFTkSuQmCC"

  @Test("An image_url is read as in mistral-common's form")
  func image() throws {
    let chunk = #"{"type": "image_url", "x": 1, "image_url": {"url": "\#(Self.picture)", "detail": "low"}}"#
    #expect(
      try rendered(#"{"messages": [{"role": "user", "content": [\#(chunk)]}]}"#)
        == "<s>[INST][IMG][IMG_END][/INST]")
  }

  @Test("Keys inside of an image_url are not dropped")
  func imageKeys() throws {
    let chunk = #"{"type": "image_url", "image_url": {"url": "\#(Self.picture)", "x": 1}}"#
    #expect(try exception(#"{"messages": [{"role": "user", "content": [\#(chunk)]}]}"#) == "ValidationError")
  }

  @Test("A chunk that the role does not have is found when all chunks are read")
  func chunkOrder() throws {
    let thinking = #"{"type": "thinking", "thinking": "a"}"#
    func request(_ chunks: String) -> String {
      #"{"messages": [{"role": "user", "content": [\#(chunks)]}]}"#
    }
    #expect(try exception(request(thinking)) == "ValidationError")
    #expect(try exception(request(thinking + ", 5")) == "AttributeError")
    #expect(try exception(request(#"{"type": "text"}, 5"#)) == "ValidationError")
  }

  // MARK: 14.6

  @Test("Keys of calls are dropped, of their functions too; arguments may be an object")
  func calls() throws {
    let call =
      #"{"index": 0, "id": "abcdEF123", "function": {"name": "f", "arguments": {"a": 1}, "x": 1}}"#
    let answer = #"{"role": "assistant", "content": null, "tool_calls": [\#(call)]}"#
    let result = #"{"role": "tool", "tool_call_id": "abcdEF123", "content": "b", "x": 1}"#
    #expect(
      try rendered(#"{"messages": [\#(Self.user), \#(answer), \#(result)]}"#)
        == #"<s>[INST]▁Hi[/INST][TOOL_CALLS]▁[{"name":▁"f",▁"arguments":▁{"a":▁1},▁"id":▁"abcdEF123"}]</s>"#
        + "[TOOL_RESULTS]▁abcdEF123[TOOL_CONTENT]▁b[/TOOL_RESULTS]")
  }

  @Test(
    "Calls are looked at before content, which is wrong here",
    arguments: [
      ("{}", "ValueError"), ("[5]", "ValidationError"), (#"[{"id": null}]"#, "ValidationError"),
      (#"[{"function": {"name": "f"}}]"#, "ValidationError"), ("null", "AttributeError"),
    ])
  func wrongCalls(calls: String, expected: String) throws {
    #expect(
      try exception(ending(with: #"{"role": "assistant", "content": [5], "tool_calls": \#(calls)}"#))
        == expected)
  }

  // MARK: 14.7

  @Test(
    "reasoning and reasoning_content are thinking, which V7 has no tokens for",
    arguments: [
      #""reasoning": "a""#, #""reasoning_content": "a""#, #""reasoning": "a", "reasoning_content": "a""#,
      #""reasoning": "a", "reasoning_content": null"#,
    ])
  func reasoning(keys: String) throws {
    let answer = #"{"role": "assistant", "content": "Hi", \#(keys)}"#
    #expect(
      try exception(#"{"messages": [\#(Self.user), \#(answer), \#(Self.user)]}"#)
        == "InvalidAssistantMessageException")
  }

  @Test(
    "Two reasonings are equal as Python compares them; what is equal and no string is found next",
    arguments: [
      (#""a""#, #""b""#, "ValueError"), ("1", "true", "ValidationError"), ("1", "1.0", "ValidationError"),
      ("1", #""1""#, "ValueError"), ("[]", "{}", "ValueError"),
      (#"{"a": 1, "b": [2]}"#, #"{"b": [2.0], "a": true}"#, "ValidationError"),
      (#"{"a": 1}"#, #"{"a": 2}"#, "ValueError"), ("NaN", "NaN", "ValueError"),
      ("[NaN]", "[NaN]", "ValidationError"),
    ])
  func twoReasonings(a: String, b: String, expected: String) throws {
    let answer = #"{"role": "assistant", "reasoning": \#(a), "reasoning_content": \#(b)}"#
    #expect(try exception(ending(with: answer)) == expected)
  }

  @Test("reasoning beside a thinking chunk is refused, even if it is no string")
  func thoughtTwice() throws {
    let answer =
      #"{"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}], "reasoning": 5}"#
    #expect(try exception(ending(with: answer)) == "InvalidAssistantMessageException")
  }

  // MARK: 14.8

  @Test(
    "A tool message has content and tool_call_id; types are looked at when both are there",
    arguments: [
      (#""tool_call_id": "abcdEF123""#, "KeyError"), (#""content": "a""#, "KeyError"),
      (#""content": null"#, "KeyError"), (#""content": null, "tool_call_id": "a""#, "ValidationError"),
      (#""content": "a", "tool_call_id": 5"#, "ValidationError"),
      (#""content": "a", "tool_call_id": "a", "name": 5"#, "ValidationError"),
      (#""content": "a", "tool_call_id": null"#, "InvalidMessageStructureException"),
    ])
  func results(keys: String, expected: String) throws {
    #expect(try exception(ending(with: #"{"role": "tool", \#(keys)}"#)) == expected)
  }

  // MARK: 14.9

  private static let continued = #"""
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a", "prefix": "x"}],
     "continue_final_message": "yes"}
    """#

  @Test("continue_final_message leaves the last message open")
  func continued() throws { #expect(try rendered(Self.continued) == "<s>[INST]▁Hi[/INST]▁a") }

  @Test("Up to 1.11.2 a message that is to be continued is closed all the same")
  func continuedOfOld() throws {
    let old = try #require(Release("1.11.2"))
    #expect(try rendered(Self.continued, as: old) == "<s>[INST]▁Hi[/INST]▁a</s>")
  }

  @Test(
    "continue_final_message is a boolean and stands behind an assistant message",
    arguments: [
      ("null", "ValidationError"), (#""x""#, "ValidationError"), ("true", "InvalidMessageStructureException"),
    ])
  func wrongContinue(value: String, expected: String) throws {
    #expect(try exception(asking(#""continue_final_message": \#(value)"#)) == expected)
  }

  @Test("continue_final_message needs a message")
  func continueNothing() throws {
    let json = #"{"messages": [], "continue_final_message": true}"#
    #expect(try refusal { try ChatRequest(json: json, form: .openAI) }.found == "no message")
  }

  // MARK: 14.10, 14.11

  private static let tool =
    #"<s>[AVAILABLE_TOOLS]▁[{"type":▁"function",▁"function":▁{"name":▁"f",▁"description":▁"",▁"parameters":▁{}}}]"#
    + "[/AVAILABLE_TOOLS][INST]▁Hi[/INST]"

  @Test(
    "Of a function only the name must be there; null is as absent",
    arguments: [
      #"{"function": {"name": "f"}}"#,
      #"{"type": "function", "x": 1, "function": {"name": "f", "description": null, "parameters": null, "x": 1}}"#,
      #"{"function": {"name": "f", "strict": null}}"#,
    ])
  func tools(tool: String) throws { #expect(try rendered(asking(#""tools": [\#(tool)]"#)) == Self.tool) }

  @Test("Tools that are null or empty in any way are none", arguments: ["null", "[]", "{}", #""""#])
  func noTools(value: String) throws { #expect(try rendered(asking(#""tools": \#(value)"#)) == Self.hi) }

  @Test(
    "A tool is an object with a function that is one",
    arguments: [
      ("5", "TypeError"), (#""f""#, "AttributeError"), (#"{"f": 1}"#, "AttributeError"),
      ("[null]", "AttributeError"), ("[[]]", "AttributeError"), ("[{}]", "ValidationError"),
      (#"[{"function": null}]"#, "ValidationError"), (#"[{"function": ""}]"#, "ValidationError"),
      (#"[{"function": {"parameters": {}}}]"#, "ValidationError"),
      (#"[{"function": {"name": "f", "parameters": []}}]"#, "ValidationError"),
      (#"[{"type": null, "function": {"name": "f"}}]"#, "ValidationError"),
    ])
  func wrongTools(value: String, expected: String) throws {
    #expect(try exception(asking(#""tools": \#(value)"#)) == expected)
  }

  @Test("A list of pairs is a function: the last of equal keys counts, keys that are no strings do not")
  func pairs() throws {
    let function = #"[["name", "g"], "ab", {"description": 0, "": 0}, [5, 6], ["name", "f"]]"#
    #expect(try rendered(asking(#""tools": [{"function": \#(function)}]"#)) == Self.tool)
  }

  @Test(
    "A function that Python makes no object of",
    arguments: [
      ("5", "TypeError"), ("true", "TypeError"), (#""ab""#, "ValueError"), (#"["abc"]"#, "ValueError"),
      ("[5]", "TypeError"), (#"[["name"]]"#, "ValueError"), ("[[[], 1]]", "TypeError"),
      (#"[{"a": 1}]"#, "ValueError"),
    ])
  func noPairs(function: String, expected: String) throws {
    #expect(try exception(asking(#""tools": [{"function": \#(function)}]"#)) == expected)
  }

  // MARK: 14.12

  @Test(
    "Settings that a client of OpenAI sends are taken",
    arguments: [
      #""seed": 5, "parallel_tool_calls": null, "max_tokens": null, "reasoning_effort": null"#,
      #""seed": null"#, #""tool_choice": {"type": "function", "function": {"name": "f", "x": 1}, "x": 1}"#,
      #""response_format": {"type": "json_schema", "x": 1, "json_schema": {"name": "n", "schema": {}, "x": 1}}"#,
    ])
  func settings(keys: String) throws { #expect(try rendered(asking(keys)) == Self.hi) }

  @Test("seed is mistral-common's random_seed")
  func seed() throws {
    let request = try ChatRequest(json: asking(#""seed": 5, "temperature": 0.5"#), form: .openAI)
    #expect(request.settings.randomSeed == 5)
    #expect(request.settings.temperature == 0.5)
  }

  @Test(
    "Settings that mistral-common knows are of its types",
    arguments: [
      #""temperature": 1.5"#, #""temperature": null"#, #""top_p": null"#, #""tool_choice": null"#,
      #""tool_choice": {"type": "allowed_tools", "allowed_tools": {}}"#, #""response_format": null"#,
      #""response_format": {"type": "json_schema"}"#, #""seed": -1"#, #""random_seed": -1"#,
      #""max_tokens": "x""#, #""parallel_tool_calls": "x""#, #""truncate_for_context_length": null"#,
    ])
  func wrongSettings(keys: String) throws { #expect(try exception(asking(keys)) == "ValidationError") }

  @Test("OpenAI's name of a schema goes before mistral-common's own")
  func schemaNames() throws {
    func format(_ schema: String, _ custom: String) -> String {
      asking(
        #"""
        "response_format": {"type": "json_schema",
          "json_schema": {"name": "n", "schema": \#(schema), "custom_schema": \#(custom)}}
        """#)
    }
    #expect(try rendered(format("{}", "5")) == Self.hi)
    #expect(try exception(format("5", "{}")) == "ValidationError")
  }

  @Test("A schema that ends in an OverflowError outranks a setting of a wrong type")
  func overflow() throws {
    let schema = #"{"pattern": "a{4294967295}"}"#
    let json = asking(
      #""model": 5, "response_format": {"json_schema": {"name": "n", "schema": \#(schema)}}"#)
    #expect(try exception(json) == "OverflowError")
  }

  // MARK: The order of steps

  @Test("Messages come before continue_final_message, that before tools, and settings last")
  func order() throws {
    let (tools, settings) = (#""tools": 5"#, #""model": 5"#)
    #expect(
      try exception(#"{\#(tools), "continue_final_message": 5, "messages": [5]}"#) == "AttributeError")
    #expect(try exception(asking(#"\#(tools), "continue_final_message": 5"#)) == "ValidationError")
    #expect(try exception(asking("\(settings), \(tools)")) == "TypeError")
  }

  @Test("An error names its place, and what is wrong there")
  func place() throws {
    let json = ending(
      with: #"{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "x"}]}"#)
    let error = try refusal { try ChatRequest(json: json, form: .openAI) }
    #expect(error.place == "request, messages 1, chunk 1, type")
    #expect(error.found == "x")
  }
}
