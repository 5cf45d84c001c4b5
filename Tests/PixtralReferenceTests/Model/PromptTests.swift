import PixtralImage
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

/// What a model cannot take, on the small model: patches of 2 pixels, images up to 8, a vocabulary of 20.
@Suite("Tokens and pixels against a model")
struct PromptTests {
  let parameters: Parameters

  init() throws { parameters = try Parameters(JSON(parsing: smallParameters, place: ""), place: "") }

  private func pixels(height: Int = 2, width: Int = 4, value: Float = 0) -> Pixels {
    Pixels(height: height, width: width, values: [Float](repeating: value, count: 3 * height * width))
  }

  private func check(_ tokens: [Int], _ pixels: [Pixels]) throws {
    try Prompt(tokens: tokens, pixels: pixels).check(against: parameters)
  }

  @Test("As many [IMG] as patches pass")
  func passes() throws { try check([1, 10, 10, 15], [pixels()]) }

  @Test("A token id outside the vocabulary is named", arguments: [-1, 20, 1 << 40])
  func outside(id: Int) throws {
    let error = try refusal { try check([1, id], []) }
    #expect(error.place == "token 1")
    #expect(error.expected == "an id from 0 to 19")
  }

  @Test("No tokens at all are refused")
  func empty() throws { #expect(try refusal { try check([], []) }.kind == .wrongTokens) }

  @Test(
    "More or fewer images than the tokens say are refused",
    arguments: [(0, "give them with --pixels"), (2, "are there as many images as the tokens say?")])
  func imageCount(count: Int, advice: String) throws {
    let error = try refusal { try check([1, 10, 10, 15], (0..<count).map { _ in pixels() }) }
    #expect(error.advice == advice)
  }

  @Test("Two images where the tokens say one are refused, though their patches are as many")
  func splitImages() throws {
    let halves = [pixels(width: 2), pixels(width: 2)]
    try check([1, 10, 15, 10, 15], halves)
    #expect(
      try refusal { try check([1, 10, 10, 15], halves) }.expected == "2 [IMG] for 2 images of [1, 1] patches")
  }

  @Test("Tokens without [IMG_END], as some runtimes make them, pass if the patches are as many")
  func noEnds() throws {
    try check([1, 10, 10, 10, 10], [pixels(), pixels()])
    #expect(throws: InputError.self) { try check([1, 10, 10, 10], [pixels(), pixels()]) }
  }

  @Test("Sides that are no multiples of the patch or too long are refused", arguments: [(3, 4), (2, 10)])
  func sides(height: Int, width: Int) throws {
    #expect(
      try refusal { try check([1, 10, 10, 15], [pixels(height: height, width: width)]) }.kind == .wrongPixels)
  }

  @Test(
    "Samples that are not finite are refused",
    arguments: [(Float.nan, "nan"), (-.nan, "nan"), (.infinity, "inf"), (-.infinity, "-inf")])
  func notFinite(value: Float, text: String) throws {
    let error = try refusal { try check([1, 10, 10, 15], [pixels(value: value)]) }
    #expect(error.expected == "finite samples")
    #expect(error.found == "\(text) at [0, 0, 0]")
  }

  @Test("Token files are a list or an object with one", arguments: ["[1, 2]", #"{"tokens": [1, 2]}"#])
  func tokenFiles(text: String) throws {
    let folder = try TemporaryFolder()
    #expect(try Prompt(tokensFile: folder.write("t.json", text), pixelsFile: nil).tokens == [1, 2])
  }

  @Test("Token files with anything but integers are refused", arguments: ["[1, 2.0]", #"["1"]"#, "{}", "7"])
  func wrongTokenFiles(text: String) throws {
    let folder = try TemporaryFolder()
    #expect(
      try refusal { try Prompt(tokensFile: folder.write("t.json", text), pixelsFile: nil) }.kind
        == .wrongTokens)
  }

  @Test("A pixel file names its tensors image0, image1, …")
  func pixelNames() throws {
    let folder = try TemporaryFolder()
    let tokens = try folder.write("t.json", "[1]")
    var file = TensorFile()
    file.add("image1", [3, 2, 2], [Float](repeating: 0, count: 12))
    let path = try folder.write("p.safetensors", file.bytes)
    #expect(try refusal { try Prompt(tokensFile: tokens, pixelsFile: path) }.found == "no image0")
  }

  @Test("Written pixels read back as the same")
  func pixelRoundTrip() throws {
    let folder = try TemporaryFolder()
    let tokens = try folder.write("t.json", "[1]")
    let images = [pixels(value: 0.5), pixels(height: 4, width: 2, value: -1)]
    let grids = images.map { $0.grid(patchSize: 1) }
    let file = try PixelsFile(
      grids, rule: ImageRule(patchSize: 1, longestSide: 4), to: "\(folder.path)/p.safetensors", sparing: [])
    for (n, image) in images.enumerated() { try file.write(image, of: "image \(n)", n) }
    try file.finish()
    #expect(try Prompt(tokensFile: tokens, pixelsFile: "\(folder.path)/p.safetensors").pixels == images)
  }
}
