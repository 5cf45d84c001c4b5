import Foundation
import PixtralImage
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralText

@Suite("The V7 template")
struct TemplateTests {
  let tokenizer: Tokenizer

  init() throws { tokenizer = try fixtureTokenizer() }

  /// What is wrong with our answer to a case; nil if nothing is.
  ///
  /// - release: which one to render as; only the newest refuses as mistral-common does.
  private func fault(in entry: Case, as release: Release = .current) throws -> String? {
    let expected = entry.expected(in: release)
    // Of other releases only what they and the newest take is known here.
    if release != .current && (expected["reject"] ?? entry.expect["reject"]) != nil { return nil }
    let found: (tokens: [Int], grids: [PatchGrid])
    do {
      let loader = ImageLoader()
      let request = try ChatRequest(
        #require(entry.inputs["request"]), place: "request", folder: fixtures, images: loader,
        form: entry.inputs["form"]?.text == "openai" ? .openAI : .mistral)
      let grids = request.loadImages(loader).map { $0.map { ImageRule.m1.grid($0.size) } }
      let rendered = try V7Template(tokenizer: tokenizer, release: release)(
        request, grids: grids, maxTokens: entry.inputs["max_tokens"]?.number)
      found = (rendered.tokens, try rendered.images.map { try grids[$0].get() })
    } catch let error as InputError {
      return error.type == expected["reject"]?.text ? nil : "as \(release): \(error.type), \(error)"
    }
    let grids = expected["images"]?.list?.map {
      PatchGrid(columns: $0["columns"]?.number ?? 0, rows: $0["rows"]?.number ?? 0)
    }
    let isRight =
      found.tokens == expected["tokens"]?.numbers && found.grids == grids
      && expected["text"]?.text.map { $0 == tokenizer.text(of: found.tokens) } ?? true
    return isRight ? nil : "as \(release): \(found)"
  }

  @Test(
    "A request becomes mistral-common's tokens, or is refused with its exception",
    arguments: ["request/rules", "request/corpus", "openai/rules", "truncation/rules"])
  func rendered(name: String) throws {
    let cases = try suite("tokens/\(name)")
    expectRight(cases) { try fault(in: $0) }
  }

  @Test(
    "A request becomes the tokens of each release that changed them",
    arguments: [
      "1.5.0", "1.7.0", "1.8.0", "1.8.1", "1.8.2", "1.11.2", "1.11.3", "1.11.4", "1.11.5", "1.13.0",
    ])
  func asRelease(text: String) throws {
    let release = try #require(Release(text))
    // Of the random ones those that this release answers otherwise than the newest.
    let cases =
      try suite("tokens/request/rules")
      + suite("tokens/request/corpus").filter { $0.expected(in: release) != $0.expect }
    expectRight(cases) { try fault(in: $0, as: release) }
  }

  @Test(
    "Releases outside of what is known are refused",
    arguments: ["1.4.9", "1.13.2", "1.8", "x", "1.8.0.1", "-1.8.0"])
  func unknownRelease(text: String) { #expect(Release(text) == nil) }

  @Test(
    "An image goes in front of a text, be it one that no tokenizer takes, and of nothing else",
    arguments: [
      (#"{"type": "text", "text": "a"}, {"type": "text", "text": "\ud800"}"#, "FileNotFoundError"),
      (#"{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}"#, "AssertionError"),
    ])
  func imageFirst(before: String, exception: String) throws {
    let image = #"{"type": "image_url", "image_url": "file:///nope.png"}"#
    let request = try ChatRequest(
      json: #"{"messages": [{"role": "user", "content": [\#(before), \#(image)]}]}"#)
    let grids = request.loadImages().map { $0.map { ImageRule.m1.grid($0.size) } }
    #expect(try refusal { try V7Template(tokenizer: tokenizer)(request, grids: grids) }.type == exception)
  }

  @Test("A prompt and a suffix become mistral-common's tokens")
  func filled() throws {
    let cases = try suite("tokens/fim/rules")
    expectRight(cases) { entry in
      do {
        let request = try FillInRequest(#require(entry.inputs["fim"]), place: "fim")
        let found = tokenizer.encode(request)
        return found == entry.expect["tokens"]?.numbers ? nil : "\(found)"
      } catch let error as InputError { return error.type == entry.expect["reject"]?.text ? nil : "\(error)" }
    }
  }

  @Test("An image of 2 rows and 3 columns ends its rows with break and end")
  func imageBlock() {
    #expect(imageTokens(PatchGrid(columns: 3, rows: 2)) == [10, 10, 10, 14, 10, 10, 10, 15])
  }
}
