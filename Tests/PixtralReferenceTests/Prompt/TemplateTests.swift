import Foundation
import Testing

@testable import PixtralReference

@Suite("Chat requests")
struct TemplateTests {
  let tokenizer = try! fixtureTokenizer()

  private func request(_ text: String) throws -> ChatRequest {
    try Array(text.utf8).withUnsafeBytes { try ChatRequest(json: $0, place: "request", folder: fixtures) }
  }

  /// - release: which one to render as; only the newest refuses as mistral-common does.
  private func check(_ entry: TokenCase, as release: Release = .current) throws {
    let template = V7Template(tokenizer: tokenizer, release: release)
    let request = try #require(entry.inputs["request"])
    let render = {
      try template(ChatRequest(request, place: "request", folder: fixtures), maxTokens: entry.inputs["max_tokens"]?.number)
    }
    let expected = entry.expected(in: release)
    if let exception = expected["reject"]?.text {
      if release == .current { #expect(try refusal(render).type == exception, "\(entry.id): \(entry.title)") }
      return
    }
    // A release may have taken what the newest refuses.
    guard release == .current || entry.expected(in: .current)["reject"] == nil else { return }
    let rendered = try render()
    #expect(rendered.tokens == expected["tokens"]?.numbers, "\(entry.id) as \(release): \(entry.title)")
    if let text = expected["text"]?.text { #expect(tokenizer.text(of: rendered.tokens) == text, "\(entry.id)") }
    let grids = rendered.images.map { ImageRule.m1.grid(width: $0.width, height: $0.height) }
    let expectedGrids = expected["images"]?.list?.map { PatchGrid(columns: $0["columns"]!.number!, rows: $0["rows"]!.number!) }
    #expect(grids == expectedGrids, "\(entry.id)")
  }

  @Test(
    "A request becomes mistral-common's tokens, or is refused with its exception",
    arguments: try! tokenCases("request/rules.jsonl") + tokenCases("truncation/rules.jsonl"))
  func rendered(entry: TokenCase) throws { try check(entry) }

  @Test("So do 2,000 random requests")
  func renderedRandom() throws { for entry in try tokenCases("request/corpus.jsonl") { try check(entry) } }

  @Test(
    "A request becomes the tokens of each release that changed them",
    arguments: ["1.5.0", "1.7.0", "1.8.0", "1.11.2", "1.11.3", "1.11.4", "1.11.5", "1.13.0"])
  func asRelease(text: String) throws {
    let release = try #require(Release(text))
    for suite in ["request/rules.jsonl", "request/corpus.jsonl"] {
      for entry in try tokenCases(suite) { try check(entry, as: release) }
    }
  }

  @Test("Releases outside of what is known are refused", arguments: ["1.4.9", "1.13.2", "1.8", "x", "1.8.0.1", "-1.8.0"])
  func unknownRelease(text: String) { #expect(Release(text) == nil) }

  @Test("A prompt and a suffix become mistral-common's tokens", arguments: try! tokenCases("fim/rules.jsonl"))
  func filled(entry: TokenCase) throws {
    let read = { try FillInRequest(#require(entry.inputs["fim"]), place: "fim") }
    if let exception = entry.expected(in: .current)["reject"]?.text {
      #expect(try refusal(read).type == exception)
    } else {
      #expect(try tokenizer.encode(read()) == entry.expected(in: .current)["tokens"]?.numbers, "\(entry.title)")
    }
  }

  @Test("An image of 2 rows and 3 columns ends its rows with break and end")
  func imageBlock() { #expect(imageTokens(PatchGrid(columns: 3, rows: 2)) == [10, 10, 10, 14, 10, 10, 10, 15]) }

  @Test(
    "A request of another form is refused, with the place",
    arguments: [
      (#"[]"#, "request"), (#"{}"#, "request, messages"), (#"{"messages": {}}"#, "request, messages"),
      (#"{"messages": ["a"]}"#, "request, messages 0"), (#"{"messages": [{"content": "a"}]}"#, "request, messages 0, role"),
      (#"{"messages": [{"role": "robot", "content": "a"}]}"#, "request, messages 0, role"),
      (#"{"messages": [{"role": "user"}]}"#, "request, messages 0, content"),
      (#"{"messages": [{"role": "user", "content": 1}]}"#, "request, messages 0, content"),
      (#"{"messages": [{"role": "user", "content": [{"type": "sound"}]}]}"#, "request, messages 0, chunk 0, type"),
      (#"{"messages": [{"role": "user", "content": [{"type": "text"}]}]}"#, "request, messages 0, chunk 0, text"),
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
    let message = #"{"role": "user", "content": [{"type": "image_url", "image_url": "https://example.org/x.png"}]}"#
    let error = try refusal { try V7Template(tokenizer: tokenizer)(request(#"{"messages": [\#(message)]}"#)) }
    #expect(error.advice == "fetch the image first and give its path")
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
    "A broken data: URL is refused",
    arguments: ["data:image/png,abc", "data:image/png;base64,", "data:;base64,a", "data:;base64,ab", "data:;base64,äbcd"])
  func brokenData(url: String) throws {
    #expect(try refusal { try ImageSource(url, place: "request", folder: ".") }.type == "ValueError")
  }

  @Test(
    "An image that does not open, and one that breaks off, are refused with Pillow's and mistral-common's exceptions",
    arguments: [
      ("half", "OSError", "OSError"), ("header-only", "UnidentifiedImageError", "ValueError"),
      ("huge", "DecompressionBombError", "ValueError"),
    ])
  func brokenImage(name: String, ofFile: String, ofData: String) throws {
    let entry = try #require(try cases("image/rgb/broken.jsonl").first { $0.id.hasSuffix("png-\(name)") })
    let folder = try TemporaryFolder()
    let path = try folder.write("image.png", entry.inputs.bytes("file"))
    let base64 = Data(try entry.inputs.bytes("file")).base64EncodedString()
    #expect(try refusal { try ImageSource("file://\(path)", place: "", folder: "").load(place: "image 0") }.type == ofFile)
    #expect(try refusal { try ImageSource("data:image/png;base64,\(base64)", place: "", folder: "").load(place: "image 0") }.type == ofData)
  }

  @Test("What is no base64 does not count, nor what stands behind the padding")
  func laxBase64() throws {
    #expect(try ImageSource("data:;base64,AQ I\nD*", place: "request", folder: ".") == .data([1, 2, 3]))
    #expect(try ImageSource("data:;base64,AQI=AQI=", place: "request", folder: ".") == .data([1, 2]))
  }
}
