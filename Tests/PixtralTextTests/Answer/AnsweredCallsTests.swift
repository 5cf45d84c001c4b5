import PixtralStorage
import PixtralText
import TestSupport
import Testing

/// Expectations are mistral-common 1.13.1's `_decode_tool_calls`, but for what only vLLM reads.
@Suite("Calls in an answer")
struct AnsweredCallsTests {
  let tokenizer: Tokenizer

  init() throws { tokenizer = try fixtureTokenizer() }

  private func calls(_ texts: String..., before: String = "") throws -> AnsweredCalls {
    try tokenizer.calls(in: tokenizer.encode(before) + texts.flatMap { [5] + tokenizer.encode($0) } + [2])
  }

  @Test("A call has a name, its arguments as JSON text, and its id")
  func one() throws {
    let found = try calls(#"[{"name": "get_weather", "arguments": {"city":"Zürich"}, "id": "VvvODy9mT"}]"#)
    #expect(found.calls.map(\.name) == ["get_weather"])
    #expect(found.calls.map(\.arguments) == [#"{"city": "Zürich"}"#])
    #expect(found.calls.map(\.id) == ["VvvODy9mT"])
    #expect(found.content.isEmpty && found.problem == nil)
  }

  @Test("A call without an id has null for one, in letters")
  func noID() throws {
    #expect(try calls(#"[{"name": "f", "arguments": {}}]"#).calls.map(\.id) == ["null"])
  }

  @Test("Several calls stand in one list, or behind a [TOOL_CALLS] each")
  func several() throws {
    let two = #"[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]"#
    #expect(try calls(two).calls.map(\.name) == ["f", "g"])
    #expect(try calls(two, #"[{"name": "h", "arguments": {}}]"#).calls.map(\.name) == ["f", "g", "h"])
  }

  @Test("What stands before the first [TOOL_CALLS] is the content")
  func content() throws {
    #expect(try calls(#"[{"name": "f", "arguments": {}}]"#, before: "Let me see.").content == "Let me see.")
  }

  @Test("Text around the list is passed over, as vLLM does")
  func around() throws {
    #expect(try calls(#"Sure: [{"name": "f", "arguments": {}}] there"#).calls.map(\.name) == ["f"])
  }

  @Test(
    "What is no list of calls stays text, and says why",
    arguments: [
      "", "[", #"{"name": "f", "arguments": {}}"#, #"[{"arguments": {}}]"#, #"[{"name": "f"}]"#,
      #"[{"name": "f", "arguments": "{}"}]"#, #"[{"name": 5, "arguments": {}}]"#,
      #"[{"name": "f", "arguments": {}, "id": null}]"#, "[5]",
    ])
  func refused(text: String) throws {
    let found = try calls(text, before: "So:")
    #expect(found.calls.isEmpty)
    #expect(found.content == (text.isEmpty ? "So:" : "So: \(text)"))
    #expect(try #require(found.problem).contains("[TOOL_CALLS]"))
  }

  @Test("An empty list stays text, and is no problem")
  func emptyList() throws {
    let found = try calls("[]", before: "So:")
    #expect(found.calls.isEmpty && found.problem == nil)
    #expect(found.content == "So: []")
  }

  @Test(
    "Half of a surrogate pair is refused in each of the three",
    arguments: [
      #"[{"name": "\ud800", "arguments": {}}]"#, #"[{"name": "f", "arguments": {"x": ["\ud800"]}}]"#,
      #"[{"name": "f", "arguments": {"\udc00": 1}}]"#, #"[{"name": "f", "arguments": {}, "id": "\ud800"}]"#,
    ])
  func halfSurrogates(text: String) throws {
    let found = try calls(text)
    #expect(found.calls.isEmpty)
    #expect(try #require(found.problem).hasSuffix("half of a surrogate pair"))
  }

  @Test("An answer without [TOOL_CALLS] has no calls and no problem")
  func none() throws {
    let found = try tokenizer.calls(in: tokenizer.encode(#"[{"name": "f", "arguments": {}}]"#))
    #expect(found.calls.isEmpty && found.problem == nil)
  }
}
