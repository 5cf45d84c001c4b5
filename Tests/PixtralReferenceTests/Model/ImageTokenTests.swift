import PixtralImage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Ids of images")
struct ImageTokenTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test(
    "A request with images is refused where params.json has other ids than the template writes",
    arguments: ["image_token_id", "image_break_token_id", "image_end_token_id"])
  func otherIds(key: String) throws {
    let checkpoint = try Checkpoint(
      smallCheckpoint(in: folder, parameters: smallParameters.with(key, 17)))
    let image = LoadedImage(
      RGBImage(ImageSize(width: 2, height: 2), samples: [UInt8](repeating: 7, count: 12)))
    let request = ChatRequest([.init(.user, [.loaded(.success(image))])])
    let error = try refusal {
      try Pixtral<Float>(checkpoint)(request, tokenizer: fixtureTokenizer())
    }
    #expect(error.place == "params.json, vision_encoder, \(key)")
    #expect(error.found == "17")
  }
}

extension String {
  /// `params.json` with another value of an id.
  fileprivate func with(_ key: String, _ id: Int) -> String {
    let pattern = "\"\(key)\": 10"
    if contains(pattern) { return replacing(pattern, with: "\"\(key)\": \(id)") }
    return replacing("\"adapter_bias\": false", with: "\"adapter_bias\": false, \"\(key)\": \(id)")
  }
}
