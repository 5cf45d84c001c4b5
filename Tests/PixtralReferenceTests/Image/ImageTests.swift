import Testing

@testable import PixtralReference

@Suite("Images")
struct ImageTests {
  private func decode(_ bytes: [UInt8]) throws -> RGBImage {
    try bytes.withUnsafeBytes { try RGBImage(decoding: $0, place: "image") }
  }

  @Test("A size in pixels becomes mistral-common's grid", arguments: try! cases("image/grid/basics.jsonl"))
  func grid(entry: Case) throws {
    let width = try #require(entry.json["inputs"]?["width"]?.integer)
    let height = try #require(entry.json["inputs"]?["height"]?.integer)
    let grid = ImageRule.m1.grid(width: width, height: height)
    #expect(grid.columns == entry.json["expect"]?["columns"]?.integer, "\(entry.title)")
    #expect(grid.rows == entry.json["expect"]?["rows"]?.integer, "\(entry.title)")
  }

  @Test("A large JPEG is scaled down to mistral-common's pixels")
  func scaledDown() throws {
    let folder = "\(fixtures)/cases/image/pixels/scaled-down"
    let expect = try #require(JSON(file: "\(folder)/case.json")["expect"])
    let pixels = Pixels(try RGBImage(file: "\(fixtures)/images/model-large.jpg"), rule: .m1)
    #expect([3, pixels.height, pixels.width] == expect["shape"]?.integers)
    let file = try Safetensors("\(folder)/expected.safetensors")
    let expected: [Float] = Weight(
      name: "rows", element: .f32, shape: file.tensors[0].shape, source: .mapped(file.file, file.tensors[0].range)
    ).vector()
    var found: [Float] = []
    for channel in 0..<3 {
      for row in try #require(expect["rows"]?.integers) { found += (0..<pixels.width).map { pixels[channel, row, $0] } }
    }
    #expect(found.count == expected.count)
    #expect(zip(found, expected).map { abs($0 - $1) }.max()! <= 1e-5)
  }

  @Test("An image of the right size is not touched, and is normalised by mean and deviation")
  func rightSize() {
    let image = RGBImage(width: 2, height: 2, samples: [UInt8](repeating: 255, count: 12))
    let pixels = Pixels(image, rule: ImageRule(patchSize: 2, longestSide: 2))
    let (red, blue): (Float, Float) = ((1 - 0.48145466) / 0.26862954, (1 - 0.40821073) / 0.27577711)
    #expect(abs(pixels[0, 1, 1] - red) < 1e-6)
    #expect(abs(pixels[2, 0, 0] - blue) < 1e-6)
  }

  @Test("Transparent black is laid on white, not dropped to black")
  func transparentIsWhite() throws {
    // model-alpha.png has its last column fully transparent over black.
    let image = try RGBImage(file: "\(fixtures)/images/model-alpha.png")
    #expect(Array(image.samples.prefix(33).suffix(3)) == [255, 255, 255])
  }

  @Test("A PNG cut off anywhere is refused")
  func truncatedPNG() throws {
    let whole = try bytes(of: "\(fixtures)/images/model-right.png")
    for count in [0, 7, 8, 20, 33, whole.count / 2, whole.count - 12, whole.count - 1] {
      #expect(try refusal { try decode(Array(whole.prefix(count))) }.kind == .wrongImage)
    }
  }

  @Test("A JPEG cut off anywhere is refused")
  func truncatedJPEG() throws {
    let whole = try bytes(of: "\(fixtures)/images/model-left.jpg")
    for count in [0, 2, 3, 20, whole.count / 3, whole.count / 2, whole.count - 2, whole.count - 1] {
      #expect(try refusal { try decode(Array(whole.prefix(count))) }.kind == .wrongImage)
    }
  }

  @Test("A PNG with a wrong checksum is refused")
  func wrongChecksum() throws {
    var bytes = try bytes(of: "\(fixtures)/images/model-right.png")
    bytes[bytes.count / 2] ^= 1
    #expect(try refusal { try decode(bytes) }.kind == .wrongImage)
  }

  @Test("A file that is no image is refused")
  func noImage() throws {
    let error = try refusal { try RGBImage(file: "\(fixtures)/requests/photo.json") }
    #expect(error.expected == "a PNG or JPEG image")
    #expect(error.advice == "convert it to PNG or JPEG first")
  }

  @Test("A missing file and a folder are refused", arguments: ["\(fixtures)/images/none.png", fixtures])
  func noFile(path: String) throws { #expect(try refusal { try RGBImage(file: path) }.kind == .unreadableFile) }
}
