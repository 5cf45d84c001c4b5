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

  @Test("A PNG cut off anywhere before its last sample is refused")
  func truncatedPNG() throws {
    let whole = try bytes(of: "\(fixtures)/images/model-right.png")
    for count in [0, 7, 8, 20, 33, whole.count / 2, whole.count - 30] {
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

  @Test("What Pillow refuses is refused, and said to be refused with Pillow's exception")
  func broken() throws {
    let cases = try suite("image/rgb/broken")
    expectRight(cases) { entry in
      let kinds: [InputError.Kind] =
        switch entry.expect["reject"]?.text {
        case "too-large": [.largeImage]
        case "not-an-image": [.wrongImage]
        default: [.wrongImage, .brokenImage]
        }
      guard let failure = refused(try entry.file) else { return "read" }
      let raised = entry.value["witnesses"]?.list?.first?["raises"]?.text
      return kinds.contains(failure.kind) && failure.exception == raised
        ? nil : "\(failure), Pillow raises \(raised ?? "nothing")"
    }
  }

  private func refused(
    _ bytes: [UInt8], maxPixels: Int = ImageSize.usualMaxPixels, keepsSamples: Bool = true
  ) -> DecodingFailure? {
    do throws(DecodingFailure) {
      _ = try bytes.span.withUnsafeBytes { bytes throws(DecodingFailure) in
        try decodeImage(bytes, maxPixels: maxPixels, keepsSamples: keepsSamples)
      }
      return nil
    } catch {
      return error
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
      (
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "a Git LFS pointer, which stands for the file"
      ),
      ("<!DOCTYPE html>\n<html><body>404</body></html>", "an HTML page"),
      ("\n<HTML>", "an HTML page"),
      ("P6\n2 2\n255\n", "a PPM image, or one of its kin (PBM, PGM, PFM)"),
      ("P5 2 2 255\n", "a PPM image, or one of its kin (PBM, PGM, PFM)"),
      ("P7\nWIDTH 2\n", "a PAM image"), ("qoif", "a QOI image"), ("PK\u{3}\u{4}", "a ZIP archive"),
      ("iVBORw0KGgoAAAANSUhEUg", "an image in base64, as text"), ("P61 is no picture", "a text"),
    ])
  func formats(start: String, name: String) throws {
    #expect(try refusal { try decode(Array(start.utf8)) }.found == name)
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
      try refusal { try decode(file) }.found
        == "a PNG image that does not decode: the file ends in a chunk tEXt")
  }

  @Test(
    "Images are read up to Pillow's limit, 178,956,970 pixels", arguments: [(13377, false), (13378, true)])
  func usualLimit(side: Int, isLarge: Bool) throws {
    let file = png(header(side, side, colour: 2), ("IDAT", [0]), ("IEND", []))
    #expect(refused(file)?.kind == (isLarge ? .largeImage : .brokenImage))
  }

  @Test("A picture of a telephone, 48 megapixels, is looked at")
  func telephone() throws {
    let rows = png(header(8064, 6048, colour: 0, depth: 1), ("IDAT", zeros(6048 * 1009)), ("IEND", []))
    let folder = try TemporaryFolder()
    let size = try ImageSize(file: folder.write("image.png", rows))
    #expect(ImageRule.m1.grid(size) == PatchGrid(columns: 64, rows: 48))
    #expect(ImageRule.m1.grid(size).tokens == 3120)
  }

  @Test("What Pillow reads and is refused here has no exception of Pillow's")
  func ownRefusals() throws {
    let frame: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1] + [UInt8](repeating: 0, count: 14)
    let animation = png(header(2, 2, colour: 0), ("fcTL", frame), ("IDAT", zeros(2)), ("IEND", []))
    let short = png(header(2, 2, colour: 0), ("IDAT", zeros(3)), ("IEND", []))
    var lossless = try bytes(of: "\(fixtures)/images/model-left.jpg")
    let start = try #require(lossless.firstRange(of: [0xff, 0xc0]))
    lossless[start.lowerBound + 1] = 0xc3
    for (file, message) in [
      (animation, "a PNG image that does not decode: a first picture that is smaller than the image"),
      (short, "a PNG image that does not decode: the samples end too early"),
      (lossless, "a JPEG image that does not decode: a lossless one, which this libjpeg does not read"),
      (Array("GIF89a".utf8), "a GIF image"),
    ] {
      let failure = try #require(refused(file))
      #expect(failure.at("image").found == message)
      #expect(failure.exception == nil)
    }
  }

  @Test(
    "A progressive JPEG whose scans leave out bits is refused, for libjpeg would guess them",
    arguments: [1, 2, 3, 8])
  func guessed(scans: Int) throws {
    let whole = try progressive()
    #expect(scanStarts(whole).count == 10)
    let file = whole[..<scanStarts(whole)[scans]] + [0xff, 0xd9]
    let failure = try #require(refused(Array(file)))
    #expect(failure.kind == .brokenImage && failure.exception == nil)
    #expect(failure.at("image").found.contains("its scans leave out bits"))
  }

  @Test("A progressive JPEG is looked at without its data, and refused for the same")
  func outline() throws {
    let whole = try progressive()
    for count in stride(from: 20, to: whole.count, by: 7) {
      for end in [[], [0xff, 0xd9], [0xff, 0x02, 0xff, 0xd9], [0xff, 0xd3, 0, 0xff, 0xd9]] as [[UInt8]] {
        let file = Array(whole[..<count]) + end
        let (looked, read) = (refused(file, keepsSamples: false), refused(file))
        #expect(looked?.exception == read?.exception && looked?.kind == read?.kind, "cut at \(count), \(end)")
      }
    }
  }

  @Test(
    "A JPEG with a longer side than libjpeg takes is refused, be it looked at or read",
    arguments: [true, false])
  func longSide(keepsSamples: Bool) throws {
    var file = try progressive()
    let frame = try #require(file.firstRange(of: [0xff, 0xc2])).lowerBound
    file.replaceSubrange(frame + 5..<frame + 9, with: [0xff, 0xdd, 0, 1])
    let failure = try #require(refused(file, keepsSamples: keepsSamples))
    #expect(failure.exception == "OSError")
    #expect(failure.at("image").found.hasSuffix("a side of more than 65,500 pixels"))
  }

  @Test("A JPEG whose last rows are followed by a second frame is refused, though the file ends in it")
  func secondFrame() throws {
    let entry = try #require(try suite("image/rgb/jpeg").first { $0.id.hasSuffix("smooth-baseline-420") })
    let whole = try entry.file
    #expect(refused(whole.dropLast(2) + [0xff, 0xfe]) == nil)
    #expect(refused(whole.dropLast(2) + [0xff, 0xc1])?.exception == "OSError")
  }

  private func progressive() throws -> [UInt8] {
    try #require(try suite("image/rgb/jpeg").first { $0.id.hasSuffix("smooth-progressive-420") }).file
  }

  private func scanStarts(_ file: [UInt8]) -> [Int] {
    file.indices.dropLast().filter { file[$0] == 0xff && file[$0 + 1] == 0xda }
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
