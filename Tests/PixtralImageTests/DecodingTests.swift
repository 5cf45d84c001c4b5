import Foundation
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralImage

@Suite("From a file to RGB")
struct DecodingTests {
  private func decode(_ bytes: [UInt8]) throws -> RGBImage {
    try bytes.withUnsafeBytes { try RGBImage(decoding: $0, place: "image") }
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
      let error = try refusal { try decode(Array(whole.prefix(count))) }
      #expect([.wrongImage, .brokenImage].contains(error.kind))
    }
  }

  @Test("A JPEG cut off anywhere is refused")
  func truncatedJPEG() throws {
    let whole = try bytes(of: "\(fixtures)/images/model-left.jpg")
    for count in [0, 2, 3, 20, whole.count / 3, whole.count / 2, whole.count - 2, whole.count - 1] {
      let error = try refusal { try decode(Array(whole.prefix(count))) }
      #expect([.wrongImage, .brokenImage].contains(error.kind))
    }
  }

  @Test("A PNG with a wrong checksum is refused")
  func wrongChecksum() throws {
    var bytes = try bytes(of: "\(fixtures)/images/model-right.png")
    bytes[bytes.count / 2] ^= 1
    #expect(try refusal { try decode(bytes) }.kind == .brokenImage)
  }

  @Test("A file that is no image is refused")
  func noImage() throws {
    let error = try refusal { try RGBImage(file: "\(fixtures)/requests/photo.json") }
    #expect(error.expected == "a PNG or JPEG image")
    #expect(error.found == "a text")
  }

  @Test("Every kind of PNG and JPEG becomes Pillow's and mistral-common's RGB")
  func rgb() throws {
    let cases = try suite("image/rgb/png") + suite("image/rgb/jpeg")
    expectRight(cases) { entry in
      let (found, expected) = (try decode(entry.file), try entry.json["expect"]?.rgbImage())
      return found.width == expected?.width && found.samples == expected?.samples ? nil : "another image"
    }
  }

  @Test("Photographs become Pillow's RGB")
  func photos() throws {
    let cases = try suite("image/rgb/photos")
    expectRight(cases) { entry in
      let image = try RGBImage(file: "\(fixtures)/cases/image/rgb/\(#require(entry.inputs["file"]?.text))")
      let size = [entry.expect["width"]?.number, entry.expect["height"]?.number]
      if [image.width, image.height] != size { return "\(image.width)×\(image.height) pixels" }
      return sha256(image.samples) == entry.expect["sha256"]?.text ? nil : "another hash of the samples"
    }
  }

  @Test("transformers' RGB is another only where the case says so")
  func huggingFace() throws {
    let cases = try suite("image/rgb/huggingface")
    expectRight(cases) { entry in
      let marked = entry.value["conflicts_with"]?.list?.map(\.text)
      if marked != [entry.id.replacing("huggingface-", with: "")] { return "not marked as another" }
      return try decode(entry.file) == entry.json["expect"]?.rgbImage() ? "the same RGB" : nil
    }
  }

  @Test("What Pillow refuses is refused")
  func broken() throws {
    let cases = try suite("image/rgb/broken")
    expectRight(cases) { entry in
      let kinds: [InputError.Kind] =
        switch entry.expect["reject"]?.text {
        case "too-large": [.largeImage]
        case "not-an-image": [.wrongImage]
        default: [.wrongImage, .brokenImage]
        }
      let error = try refusal { try decode(entry.file) }
      return kinds.contains(error.kind) ? nil : "\(error.kind): \(error)"
    }
  }

  @Test("A file that is only looked at is read as far, and refused for the same")
  func looking() throws {
    let cases = try ["png", "jpeg", "broken"].flatMap { try suite("image/rgb/\($0)") }
    expectRight(cases) { entry in
      let folder = try TemporaryFolder()
      let file = try folder.write("image", entry.file)
      let looked = Result { () throws(InputError) in try ImageSize(file: file) }
      let read = Result { () throws(InputError) in try RGBImage(file: file).size }
      return looked == read ? nil : "looked at \(looked), read \(read)"
    }
  }

  @Test("EXIF's orientation is read, not applied")
  func orientation() throws {
    let turned = try (suite("image/rgb/png") + suite("image/rgb/jpeg")).filter { $0.id.hasSuffix("-turned") }
    #expect(turned.count == 3)
    for entry in turned { #expect(try decode(entry.file).size.orientation == 6) }
    #expect(try RGBImage(file: "\(fixtures)/images/model-left.jpg").size.orientation == nil)
  }

  @Test(
    "Other formats are named",
    arguments: [
      ("RIFF\u{0}\u{0}\u{0}\u{0}WEBPVP8 ", "a WebP image"), ("GIF89a", "a GIF image"),
      ("BM6\u{0}", "a BMP image"),
      ("II*\u{0}", "a TIFF image"),
      ("\u{0}\u{0}\u{0}\u{20}ftypavif", "an AVIF image"), ("\u{0}\u{0}\u{0}\u{18}ftypheic", "a HEIC image"),
      ("<?xml version='1.0'?>\n<svg/>", "an SVG drawing"), ("%PDF-1.7", "a PDF document"),
      ("hello", "a text"), ("", "an empty file"),
      ("\u{1}\u{2}", "something else"),
    ])
  func formats(start: String, name: String) throws {
    #expect(try refusal { try decode(Array(start.utf8)) }.found == name)
  }

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
      for _ in 0..<8 { crc = crc & 1 == 1 ? 0xedb8_8320 ^ (crc >> 1) : crc >> 1 }
    }
    return withUnsafeBytes(of: (~crc).bigEndian, Array.init)
  }

  @Test(
    "Sizes of nothing and beyond the limit are refused unread",
    arguments: [[0, 0, 0, 0], [0, 0, 255, 255], [127, 255, 255, 255]])
  func sizes(side: [UInt8]) throws {
    let error = try refusal { try decode(png(("IHDR", side + side + [8, 2, 0, 0, 0]), ("IDAT", [0]))) }
    #expect([.wrongImage, .largeImage].contains(error.kind))
  }

  @Test("The limit on pixels is named, and can be raised")
  func limit() throws {
    let file = try bytes(of: "\(fixtures)/images/model-right.png")
    let image = try decode(file)
    let count = image.width * image.height
    let error = try refusal {
      try file.withUnsafeBytes { try RGBImage(decoding: $0, place: "image", maxPixels: count - 1) }
    }
    #expect(error.expected == "an image of at most \(count - 1) pixels, 65535 on a side")
    #expect(error.found == "\(image.width)×\(image.height)")
    #expect(error.advice == "raise the limit with --max-pixels")
    #expect(
      try file.withUnsafeBytes { try RGBImage(decoding: $0, place: "image", maxPixels: count) } == image)
  }

  @Test("A chunk that claims two gigabytes takes none")
  func longChunk() throws {
    let file =
      png(("IHDR", [0, 0, 0, 4, 0, 0, 0, 4, 8, 2, 0, 0, 0])) + [0x7f, 0xff, 0xff, 0xff]
      + Array("tEXtabc".utf8)
    #expect(
      try refusal { try decode(file) }.found == "a PNG image that does not decode: the file ends too early")
  }

  @Test("tRNS behind the samples, which Pillow heeds and PNG forbids, is refused")
  func lateTransparency() throws {
    let whole = try bytes(of: "\(fixtures)/images/model-right.png")
    let file = whole.dropLast(12) + png(("tRNS", [0, 1, 0, 2, 0, 3]), ("IEND", [])).dropFirst(8)
    #expect(
      try refusal { try decode(Array(file)) }.found
        == "a PNG image that does not decode: tRNS behind the image data")
  }

  @Test("A progressive JPEG of endless scans is refused")
  func scans() throws {
    let entry = try #require(try suite("image/rgb/jpeg").first { $0.id.hasSuffix("smooth-progressive-grey") })
    let file = try entry.file
    // The last scan, from its SOS to the end of the image, over and over.
    let start = try #require(file.indices.dropLast().last { file[$0] == 0xff && file[$0 + 1] == 0xda })
    let scan = file[start..<file.count - 2]
    let many = file[..<start] + (0..<2000).flatMap { _ in scan } + [0xff, 0xd9]
    #expect(throws: InputError.self) { try decode(Array(many)) }
  }

  @Test("A missing file and a folder are refused", arguments: ["\(fixtures)/images/none.png", fixtures])
  func noFile(path: String) throws {
    #expect(try refusal { try RGBImage(file: path) }.kind == .unreadableFile)
  }
}
