import PixtralStorage
import TestSupport
import Testing

@testable import PixtralImage

/// What Pillow's `ImageOps.exif_transpose` turns, and what it does not. Tools/checks/check_image_files.py
/// asks Pillow the same of random files.
@Suite("Which way is up")
struct OrientationTests {
  @Test("Orientations from 2 to 8 turn a picture", arguments: 0...9)
  func numbers(number: Int) throws {
    #expect(try orientation(jpeg(exif(number))) == ((2...8).contains(number) ? number : nil))
  }

  @Test(
    "A number of any type counts, in either byte order; bytes and letters do not",
    arguments: [
      (3, [6, 0, 0, 0], 6), (4, [6, 0, 0, 0], 6), (8, [6, 0, 0, 0], 6), (9, [6, 0, 0, 0], 6),
      (13, [6, 0, 0, 0], 6),
      (6, [6, 0, 0, 0], 6), (11, [0, 0, 0xc0, 0x40], 6), (11, [0, 0, 0xc8, 0x40], nil),
      (1, [6, 0, 0, 0], nil), (2, [0x36, 0, 0, 0], nil), (7, [6, 0, 0, 0], nil), (99, [6, 0, 0, 0], nil),
    ] as [(UInt8, [UInt8], Int?)])
  func types(type: UInt8, value: [UInt8], turn: Int?) throws {
    #expect(try orientation(jpeg(tiff("II", [(0x12, type, 1, value)]))) == turn)
    let big = type == 3 || type == 8 ? [value[1], value[0], 0, 0] : type == 6 ? value : value.reversed()
    if ![1, 2, 7, 99].contains(type) {
      #expect(try orientation(jpeg(tiff("MM", [(0x12, type, 1, big)]))) == turn)
    }
  }

  @Test(
    "A fraction counts if it is whole, and lies where its entry says",
    arguments: [(12, 2, 6), (13, 2, nil), (6, 0, nil)])
  func fraction(above: UInt8, below: UInt8, turn: Int?) throws {
    let block = tiff("II", [(0x12, 5, 1, [26, 0, 0, 0])]) + [above, 0, 0, 0, below, 0, 0, 0]
    #expect(try orientation(jpeg(block)) == turn)
  }

  @Test("Of several numbers the first counts, and of two entries the first")
  func first() throws {
    #expect(try orientation(jpeg(tiff("II", [(0x12, 3, 2, [6, 0, 3, 0])]))) == 6)
    #expect(
      try orientation(jpeg(tiff("II", [(0x12, 3, 1, [6, 0, 0, 0]), (0x12, 3, 1, [3, 0, 0, 0])]))) == 6)
    // An empty one is none.
    #expect(
      try orientation(jpeg(tiff("II", [(0x12, 3, 0, [6, 0, 0, 0]), (0x12, 3, 1, [3, 0, 0, 0])]))) == 3)
  }

  @Test("Fill bytes before a segment, and a second Exif in front of the block, change nothing")
  func fillBytes() throws {
    #expect(try orientation(jpeg(exif(6), fill: 3)) == 6)
    #expect(try orientation(jpeg(Array("Exif\0\0".utf8) + exif(6))) == 6)
  }

  @Test("A block may be cut into two segments")
  func twoSegments() throws {
    let block = exif(6)
    #expect(try orientation(jpeg(Array(block[..<15]), Array(block[15...]))) == 6)
  }

  @Test("A block that is no TIFF turns nothing, and hides XMP")
  func noTIFF() throws {
    #expect(try orientation(jpeg(Array("nonsense".utf8), xmp: #"tiff:Orientation="6""#)) == nil)
    #expect(try orientation(jpeg(Array(exif(6)[..<12]), xmp: #"tiff:Orientation="6""#)) == 6)
  }

  @Test(
    "XMP counts where EXIF says nothing",
    arguments: [
      (#"<x tiff:Orientation="6"/>"#, 6), ("<tiff:Orientation>8</tiff:Orientation>", 8),
      ("<x tiff:Orientation='6'/>", nil), (#"tiff:Orientation="x" tiff:Orientation="3""#, 3), ("", nil),
    ] as [(String, Int?)])
  func inXMP(text: String, turn: Int?) throws {
    #expect(try orientation(jpeg(xmp: text)) == turn)
    #expect(try orientation(jpeg(exif(1), xmp: text)) == nil)
    let chunk = ("iTXt", Array("XML:com.adobe.xmp\0\0\0\0\0\(text)".utf8))
    #expect(try orientation(png(start, chunk, data)) == turn)
  }

  @Test("A PNG has its orientation in eXIf, before or behind the samples, with Exif in front or not")
  func inChunk() throws {
    for block in [exif(6), Array("Exif\0\0".utf8) + exif(6)] {
      #expect(try orientation(png(start, ("eXIf", block), data)) == 6)
      #expect(try orientation(png(start, data, ("eXIf", block))) == 6)
    }
    #expect(try orientation(png(start, ("eXIf", exif(6)), ("eXIf", exif(3)), data)) == 3)
  }

  @Test("A PNG has its orientation in a text of hexadecimal digits, stored in any way")
  func inText() throws {
    let keyword = Array("Raw profile type exif\0".utf8)
    let digits = (Array("Exif\0\0".utf8) + exif(6)).map { byte in
      let digits = String(byte, radix: 16)
      return byte < 16 ? "0" + digits : digits
    }
    let text = Array("\nexif\n  32\n\(digits.joined())\n".utf8)
    for chunk in [
      ("tEXt", keyword + text), ("zTXt", keyword + [0] + compressed(text)),
      ("iTXt", keyword + [0, 0, 0, 0] + text), ("iTXt", keyword + [1, 0, 0, 0] + compressed(text)),
    ] {
      #expect(try orientation(png(start, chunk, data)) == 6)
    }
    #expect(try orientation(png(start, ("tEXt", keyword + text.dropLast(2)), data)) == nil)
    #expect(try orientation(png(start, ("tEXt", keyword + text), ("eXIf", exif(3)), data)) == 3)
  }

  // MARK: - Files

  private let start = header(2, 1, colour: 0)
  private let data = ("IDAT", zeros(3))

  private func orientation(_ file: [UInt8]) throws -> Int? {
    try file.withUnsafeBytes { try RGBImage(decoding: $0, place: "image").size.orientation }
  }

  /// A block with an orientation.
  private func exif(_ number: Int) -> [UInt8] { tiff("II", [(0x12, 3, 1, [UInt8(number), 0, 0, 0])]) }

  /// A directory of entries: the low byte of a tag whose high byte is 1, a type, a count, a value.
  private func tiff(_ order: String, _ entries: [(UInt8, UInt8, UInt8, [UInt8])]) -> [UInt8] {
    func number(_ bytes: [UInt8]) -> [UInt8] { order == "II" ? bytes : bytes.reversed() }
    var block =
      Array(order.utf8) + number([42, 0]) + number([8, 0, 0, 0]) + number([UInt8(entries.count), 0])
    for (tag, type, count, value) in entries {
      block += number([tag, 1]) + number([type, 0]) + number([count, 0, 0, 0]) + value
    }
    return block + [0, 0, 0, 0]
  }

  /// A JPEG with segments of EXIF and of XMP.
  private func jpeg(_ blocks: [UInt8]..., xmp: String? = nil, fill: Int = 0) throws -> [UInt8] {
    let whole = try bytes(of: "\(fixtures)/images/model-left.jpg")
    var segments = blocks.map { Array("Exif\0\0".utf8) + $0 }
    if let xmp { segments.append(Array("http://ns.adobe.com/xap/1.0/\0\(xmp)".utf8)) }
    var coded: [UInt8] = []
    for segment in segments {
      coded += [UInt8](repeating: 0xff, count: fill) + [0xff, 0xe1]
      coded += withUnsafeBytes(of: UInt16(segment.count + 2).bigEndian, Array.init)
      coded += segment
    }
    return Array(whole[..<2]) + coded + whole[2...]
  }
}
