import Foundation
import Testing

@testable import PixtralReference

@Suite("V7 template")
struct TemplateTests {
  let tokenizer = try! fixtureTokenizer()

  private func request(_ text: String, folder: String = "\(fixtures)/cases/tokens/request") throws -> ChatRequest {
    try ChatRequest(JSON(parsing: text, place: "request"), place: "request", folder: folder)
  }

  @Test("A request becomes mistral-common's tokens, or is refused with its exception", arguments: try! cases("tokens/request/basics.jsonl"))
  func rendered(entry: Case) throws {
    let json = try #require(entry.json["inputs"]?["request"])
    let render = {
      try Prompt(
        ChatRequest(json, place: "request", folder: "\(fixtures)/cases/tokens/request"), tokenizer: tokenizer, imageRule: .m1)
    }
    if let exception = entry.json["expect"]?["reject"]?.string {
      #expect(try refusal(render).type == exception, "\(entry.title)")
    } else {
      let prompt = try render()
      #expect(prompt.tokens == entry.json["expect"]?["tokens"]?.integers, "\(entry.title)")
      #expect(tokenizer.text(of: prompt.tokens) == entry.json["expect"]?["text"]?.string)
    }
  }

  @Test("An image of 2 rows and 3 columns ends its rows with break and end")
  func imageBlock() { #expect(imageTokens(PatchGrid(columns: 3, rows: 2)) == [10, 10, 10, 14, 10, 10, 10, 15]) }

  @Test(
    "What this version does not render is refused, never half-done",
    arguments: [
      #"{"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function"}]}"#,
      #"{"messages": [{"role": "user", "content": "a"}], "continue_final_message": true}"#,
      #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "prefix": true}]}"#,
      #"{"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}, {"role": "user", "content": "a"}]}"#,
      #"{"messages": [{"role": "tool", "content": "a", "tool_call_id": "123456789"}]}"#,
    ])
  func notYet(text: String) throws {
    #expect(try refusal { try request(text) }.advice == "this version renders system, user and assistant messages only")
  }

  @Test(
    "A request of another form is refused, with the place",
    arguments: [
      (#"[]"#, "request"), (#"{}"#, "request, messages"), (#"{"messages": {}}"#, "request, messages"),
      (#"{"messages": ["a"]}"#, "request, message 0"), (#"{"messages": [{"content": "a"}]}"#, "request, message 0, role"),
      (#"{"messages": [{"role": "robot", "content": "a"}]}"#, "request, message 0, role"),
      (#"{"messages": [{"role": "user"}]}"#, "request, message 0, content"),
      (#"{"messages": [{"role": "user", "content": 1}]}"#, "request, message 0, content"),
      (#"{"messages": [{"role": "user", "content": [{"type": "sound"}]}]}"#, "request, message 0, chunk 0, type"),
      (#"{"messages": [{"role": "user", "content": [{"type": "text"}]}]}"#, "request, message 0, chunk 0, text"),
      (
        #"{"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "x.png"}]}]}"#,
        "request, message 0, content"
      ),
      (
        #"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://example.org/x.png"}]}]}"#,
        "request, message 0, chunk 0, image_url"
      ),
    ])
  func malformed(text: String, place: String) throws {
    let error = try refusal { try request(text) }
    #expect(error.place == place)
    #expect(error.kind == .wrongRequest)
  }

  @Test("A text that is not JSON is refused")
  func notJSON() throws { #expect(try refusal { try request("{\"messages\": [") }.kind == .malformedJSON) }

  @Test("A data: URL, a file:// URL and a path are the same image")
  func imageSources() throws {
    let path = "\(fixtures)/images/model-alpha.png"
    let base64 = Data(try bytes(of: path)).base64EncodedString()
    let image = try RGBImage(file: path)
    for url in ["data:image/png;base64,\(base64)", "file://\(path)", "../images/model-alpha.png", path] {
      let source = try ImageSource(url, place: "request", folder: "\(fixtures)/requests")
      #expect(try source.load(place: "image 0") == image)
    }
  }

  @Test(
    "A broken data: URL is refused", arguments: ["data:image/png,abc", "data:image/png;base64,", "data:;base64,a", "data:;base64,ab$="])
  func brokenData(url: String) throws {
    #expect(try refusal { try ImageSource(url, place: "request", folder: ".") }.kind == .wrongRequest)
  }
}
