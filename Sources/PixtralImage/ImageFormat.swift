/// What a file is, by its first bytes.
struct ImageFormat: Equatable {
  /// With its article, for a sentence.
  let name: String
  /// Whether Pillow reads it.
  var isPillows = false
  /// What to do about it, if it is no PNG and no JPEG.
  var advice = ""

  static let png = ImageFormat(name: "a PNG image")
  static let jpeg = ImageFormat(name: "a JPEG image")

  init(_ bytes: UnsafeRawBufferPointer) {
    let known = Self.signatures.first {
      $0.parts.allSatisfy { bytes.dropFirst($0.at).starts(with: $0.bytes) }
    }
    self = known?.format ?? Self.ofText(bytes)
  }

  private init(name: String, isPillows: Bool = false, advice: String = "") {
    (self.name, self.isPillows, self.advice) = (name, isPillows, advice)
  }

  private static let convert = "convert it first, for instance with ImageMagick: magick FILE FILE.png"

  private typealias Part = (at: Int, bytes: [UInt8])

  private static let signatures: [(parts: [Part], format: ImageFormat)] = {
    func at(_ place: Int, _ text: String) -> Part { (place, Array(text.utf8)) }
    func pillows(_ name: String) -> ImageFormat { .init(name: name, isPillows: true, advice: convert) }
    func image(_ name: String) -> ImageFormat { .init(name: name, advice: convert) }
    func noImage(_ name: String, _ advice: String = "") -> ImageFormat { .init(name: name, advice: advice) }
    var known: [(parts: [Part], format: ImageFormat)] = [
      ([(0, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])], png),
      ([(0, [0xff, 0xd8, 0xff])], jpeg),
      ([at(0, "RIFF"), at(8, "WEBP")], pillows("a WebP image")),
      ([at(0, "GIF87a")], pillows("a GIF image")),
      ([at(0, "GIF89a")], pillows("a GIF image")),
      ([at(0, "BM")], pillows("a BMP image")),
      ([(0, [0x49, 0x49, 0x2a, 0])], pillows("a TIFF image")),
      ([(0, [0x4d, 0x4d, 0, 0x2a])], pillows("a TIFF image")),
      ([(0, [0x49, 0x49, 0x2b, 0])], pillows("a TIFF image")),
      ([at(4, "ftypavi")], pillows("an AVIF image")),
      ([(0, [0, 0, 0, 0x0c, 0x6a, 0x50, 0x20, 0x20])], pillows("a JPEG 2000 image")),
      ([(0, [0xff, 0x4f, 0xff, 0x51])], pillows("a JPEG 2000 image")),
      ([(0, [0, 0, 1, 0])], pillows("an ICO image")),
      ([(0, [0, 0, 2, 0])], pillows("a CUR image")),
      ([at(0, "icns")], pillows("an ICNS image")),
      ([at(0, "8BPS")], pillows("a Photoshop document")),
      ([at(0, "qoif")], pillows("a QOI image")),
      ([at(0, "DDS ")], pillows("a DDS image")),
      ([at(0, "SIMPLE")], pillows("a FITS image")),
      ([at(0, "%!PS")], pillows("a PostScript document")),
      ([at(0, "#define ")], pillows("an XBM image")),
      ([at(0, "/* XPM */")], pillows("an XPM image")),
      ([(0, [0x76, 0x2f, 0x31, 0x01])], image("an OpenEXR image")),
      ([at(0, "#?RADIANCE")], image("a Radiance HDR image")),
      ([at(0, "farbfeld")], image("a farbfeld image")),
      ([(0, [0xff, 0x0a])], image("a JPEG XL image")),
      ([(0, [0, 0, 0, 0x0c, 0x4a, 0x58, 0x4c, 0x20])], image("a JPEG XL image")),
      ([at(0, "%PDF")], image("a PDF document")),
      ([at(4, "ftyp")], noImage("a video, or an image in a video's container")),
      ([(0, [0x1f, 0x8b])], noImage("a gzip archive", "unpack it first")),
      ([at(0, "PK\u{3}\u{4}")], noImage("a ZIP archive", "unpack it first")),
      (
        [at(0, "version https://git-lfs.github.com/spec/")],
        noImage("a Git LFS pointer, which stands for the file", "fetch the file itself: git lfs pull")
      ),
      // The base64 of a PNG and of a JPEG.
      ([at(0, "iVBORw0KGgo")], noImage("an image in base64, as text", "decode it first: base64 -d FILE")),
      ([at(0, "/9j/")], noImage("an image in base64, as text", "decode it first: base64 -d FILE")),
      ([at(0, "data:")], noImage("the text of a data: URL", "give the URL itself in a request")),
    ]
    for brand in ["heic", "heix", "hevc", "mif1"] {
      known.insert(([at(4, "ftyp" + brand)], image("a HEIC image")), at: 0)
    }
    for digit in ["1", "2", "3", "4", "5", "6", "f", "F"] {
      for space in ["\n", " ", "\r", "\t"] {
        known.append(
          ([at(0, "P" + digit + space)], pillows("a PPM image, or one of its kin (PBM, PGM, PFM)")))
      }
    }
    known.append(([at(0, "P7\n")], image("a PAM image")))
    return known
  }()

  /// A format that only its words tell.
  private static func ofText(_ bytes: UnsafeRawBufferPointer) -> ImageFormat {
    if bytes.isEmpty { return ImageFormat(name: "an empty file") }
    if bytes.starts(with: [0xff, 0xfe]) || bytes.starts(with: [0xfe, 0xff]) {
      return ImageFormat(name: "a text in UTF-16")
    }
    let start = UnsafeRawBufferPointer(rebasing: bytes.prefix(1024))
    let text = String(decoding: start, as: UTF8.self)
    let words = text.lowercased()
    if words.contains("<svg") {
      return ImageFormat(name: "an SVG drawing", advice: convert)
    }
    if words.contains("<!doctype html") || words.contains("<html") {
      return ImageFormat(
        name: "an HTML page", advice: "fetch the image itself: the page may say why it was not sent")
    }
    let isText =
      !start.contains { $0 < 0x09 || (0x0e..<0x20).contains($0) }
      && !text.dropLast().unicodeScalars.contains("\u{fffd}")
    return ImageFormat(name: isText ? "a text" : "something else")
  }
}
