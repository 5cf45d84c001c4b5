import TestSupport
import Testing

@testable import PixtralText

/// An error is a sentence, however long what it speaks of is.
struct ErrorLengthTests {
  private static let base64 = String(repeating: "iVBORw0KGgo", count: 80_000)

  private func image(_ url: String) -> ChatRequest { ChatRequest([.init(.user, [.image(url)])]) }

  @Test(arguments: [
    "\(base64).png", "file://\(base64)", "file://\(base64).png", "data:image/png,\(base64)",
    "data:image/png;base64,\(base64)", "data:image/png;base64,\(base64)\u{e9}", "http://\(base64)",
    "ftp://\(base64)", "\(base64)://",
  ])
  func aLongURLIsCut(url: String) throws {
    let error = try refusal { try image(url).loadImages()[0].get() }
    #expect(error.description.utf8.count < 1000)
  }

  /// `KEY` stands for the long text.
  @Test(arguments: [
    #"{"messages": [], "KEY": 1}"#, #"{"messages": [{"role": "KEY", "content": "a"}]}"#,
    #"{"messages": [{"role": "user", "content": "a", "KEY": 1}]}"#,
    #"{"messages": [{"role": "user", "content": [{"type": "KEY"}]}]}"#,
    #"{"messages": [{"role": "user", "content": [{"type": "image", "image": "data:KEY"}]}]}"#,
    #"{"messages": [{"role": "user", "content": [{"type": "image", "image": "KEY"}]}]}"#,
    #"{"messages": [{"role": "user", "content": "a"}], "tools": [{"KEY": 1}]}"#,
    #"{"messages": [{"role": "user", "content": "a"}], "temperature": "KEY"}"#,
    #"{"messages": [{"role": "user", "content": "a"}], "reasoning_effort": "KEY"}"#,
    #"{"messages": [{"role": "user", "content": "a"}], "tool_choice": "KEY"}"#,
    #"{"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "KEY"}}"#,
  ])
  func aLongKeyOrValueIsCut(json: String) throws {
    let error = try refusal { try ChatRequest(json: json.replacing("KEY", with: Self.base64)) }
    #expect(error.description.utf8.count < 1000)
  }

  @Test(arguments: [
    #"{"type": "KEY"}"#, #"{"pattern": "KEY("}"#, #"{"properties": {"KEY": {"type": 1}}}"#,
    #"{"properties": {"KEY": {"properties": {"KEY": 1}}}}"#,
  ])
  func whatIsWrongWithASchemaIsCut(schema: String) throws {
    let tool = #"{"function": {"name": "f", "parameters": \#(schema)}}"#
    let json = #"{"messages": [{"role": "user", "content": "a"}], "tools": [\#(tool)]}"#
    let request = try ChatRequest(json: json.replacing("KEY", with: Self.base64))
    #expect(try refusal { try request.validate() }.description.utf8.count < 1000)
  }
}
