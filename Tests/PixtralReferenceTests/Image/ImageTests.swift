import Foundation
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
    #expect(error.found == "a text")
  }

  @Test(
    "Every kind of PNG and JPEG becomes Pillow's and mistral-common's RGB",
    arguments: try! cases("image/rgb/png.jsonl") + cases("image/rgb/jpeg.jsonl"))
  func rgb(entry: Case) throws {
    let file = try file(of: entry)
    let image = try decode(file)
    #expect(image.width == entry.json["expect"]?["width"]?.integer)
    #expect(image.height == entry.json["expect"]?["height"]?.integer)
    let expected = Data(base64Encoded: entry.json["expect"]?["rgb"]?.string ?? "").map(Array.init)
    #expect(image.samples == expected, "\(entry.title)")
  }

  private func file(of entry: Case) throws -> [UInt8] {
    let text = try #require(entry.json["inputs"]?["file"]?.string)
    return Array(try #require(Data(base64Encoded: text)))
  }

  @Test("EXIF's orientation is read, not applied")
  func orientation() throws {
    let turned = try cases("image/rgb/jpeg.jsonl").filter { $0.id.hasSuffix("-turned") }
    for entry in turned {
      let file = try file(of: entry)
      #expect(try decode(file).orientation == 6)
    }
    #expect(try RGBImage(file: "\(fixtures)/images/model-left.jpg").orientation == nil)
  }

  @Test(
    "Other formats are named",
    arguments: [
      ("RIFF\u{0}\u{0}\u{0}\u{0}WEBPVP8 ", "a WebP image"), ("GIF89a", "a GIF image"), ("BM6\u{0}", "a BMP image"),
      ("II*\u{0}", "a TIFF image"),
      ("\u{0}\u{0}\u{0}\u{20}ftypavif", "an AVIF image"), ("\u{0}\u{0}\u{0}\u{18}ftypheic", "a HEIC image"),
      ("<?xml version='1.0'?>\n<svg/>", "an SVG drawing"), ("%PDF-1.7", "a PDF document"), ("hello", "a text"), ("", "an empty file"),
      ("\u{1}\u{2}", "something else"),
    ])
  func formats(start: String, name: String) throws { #expect(try refusal { try decode(Array(start.utf8)) }.found == name) }

  /// A PNG's signature and chunks, without checksums that hold.
  private func png(_ chunks: (String, [UInt8])..., length: [UInt8]? = nil) -> [UInt8] {
    chunks.reduce([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]) { file, chunk in
      let count = length ?? withUnsafeBytes(of: UInt32(chunk.1.count).bigEndian, Array.init)
      return file + count + Array(chunk.0.utf8) + chunk.1 + checksum(Array(chunk.0.utf8) + chunk.1)
    }
  }

  private func checksum(_ bytes: [UInt8]) -> [UInt8] {
    var crc: UInt32 = ~0
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? 0xedb8_8320 ^ crc >> 1 : crc >> 1 }
    }
    return withUnsafeBytes(of: (~crc).bigEndian, Array.init)
  }

  @Test("Sizes of nothing and beyond the limit are refused unread", arguments: [[0, 0, 0, 0], [0, 0, 255, 255], [127, 255, 255, 255]])
  func sizes(side: [UInt8]) throws {
    let error = try refusal { try decode(png(("IHDR", side + side + [8, 2, 0, 0, 0]), ("IDAT", [0]))) }
    #expect(error.kind == .wrongImage)
  }

  @Test("The limit on pixels is named, and can be raised")
  func limit() throws {
    let file = try bytes(of: "\(fixtures)/images/model-right.png")
    let image = try decode(file)
    let count = image.width * image.height
    let error = try refusal { try file.withUnsafeBytes { try RGBImage(decoding: $0, place: "image", maxPixels: count - 1) } }
    #expect(error.advice == "the limit is \(count - 1); raise it with --max-pixels")
    #expect(try file.withUnsafeBytes { try RGBImage(decoding: $0, place: "image", maxPixels: count) } == image)
  }

  @Test("A chunk that claims two gigabytes takes none")
  func longChunk() throws {
    let file = png(("IHDR", [0, 0, 0, 4, 0, 0, 0, 4, 8, 2, 0, 0, 0])) + [0x7f, 0xff, 0xff, 0xff] + Array("tEXtabc".utf8)
    #expect(try refusal { try decode(file) }.found == "a PNG that does not decode: the file ends too early")
  }

  @Test("A progressive JPEG of endless scans is refused")
  func scans() throws {
    let entry = try #require(try cases("image/rgb/jpeg.jsonl").first { $0.id.hasSuffix("smooth-progressive-grey") })
    let file = try file(of: entry)
    // The last scan, from its SOS to the end of the image, over and over.
    let start = try #require(file.indices.dropLast().last { file[$0] == 0xff && file[$0 + 1] == 0xda })
    let scan = file[start..<file.count - 2]
    let many = file[..<start] + (0..<2000).flatMap { _ in scan } + [0xff, 0xd9]
    #expect(throws: InputError.self) { try decode(Array(many)) }
  }

  @Test("A missing file and a folder are refused", arguments: ["\(fixtures)/images/none.png", fixtures])
  func noFile(path: String) throws { #expect(try refusal { try RGBImage(file: path) }.kind == .unreadableFile) }
}
