import PixtralImage
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralText

@Suite("Chat requests")
struct RequestTests {
  private func request(_ text: String) throws -> ChatRequest { try ChatRequest(json: text) }

  @Test(
    "A request of another form is refused, with the place",
    arguments: [
      (#"[]"#, "request"), (#"{}"#, "request, messages"), (#"{"messages": {}}"#, "request, messages"),
      (#"{"messages": ["a"]}"#, "request, messages 0"),
      (#"{"messages": [{"content": "a"}]}"#, "request, messages 0, role"),
      (#"{"messages": [{"role": "robot", "content": "a"}]}"#, "request, messages 0, role"),
      (#"{"messages": [{"role": "user"}]}"#, "request, messages 0, content"),
      (#"{"messages": [{"role": "user", "content": 1}]}"#, "request, messages 0, content"),
      (
        #"{"messages": [{"role": "user", "content": [{"type": "sound"}]}]}"#,
        "request, messages 0, chunk 0, type"
      ),
      (
        #"{"messages": [{"role": "user", "content": [{"type": "text"}]}]}"#,
        "request, messages 0, chunk 0, text"
      ),
      (
        #"{"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "x.png"}]}]}"#,
        "request, messages 0, chunk 0, type"
      ),
      (#"{"messages": [], "stream": true}"#, "request, stream"),
    ])
  func malformed(text: String, place: String) throws {
    let error = try refusal { try request(text) }
    #expect(error.place == place)
    #expect(error.type == "ValidationError")
  }

  @Test("A remote image is not fetched")
  func remote() throws {
    let message =
      #"{"role": "user", "content": [{"type": "image_url", "image_url": "https://example.org/x.png"}]}"#
    let error = try refusal { try request(#"{"messages": [\#(message)]}"#).loadImages()[0].get() }
    #expect(error.advice == "fetch the image first and give its path")
  }

  @Test("A text that is not JSON is refused")
  func notJSON() throws { #expect(try refusal { try request("{\"messages\": [") }.kind == .malformedJSON) }

  @Test("A request in UTF-16, as PowerShell writes it, is named as that", arguments: [[0xff, 0xfe], []])
  func utf16(mark: [UInt8]) throws {
    let bytes = mark + "{}".utf16.flatMap { [UInt8($0), 0] }
    let error = try refusal { try bytes.withUnsafeBytes { try PythonValue(json: $0, place: "request") } }
    #expect(error.found == "UTF-16 text (PowerShell's > writes it)")
    #expect(error.advice == "write UTF-8")
  }
}
