/// What a file is, by its first bytes.
enum ImageFormat: CaseIterable {
  case png, jpeg
  case webP, gif, bmp, tiff, avif, heic, jpegXL, jpeg2000, ico, psd, svg, pdf
  case empty, text, unknown

  init(_ bytes: UnsafeRawBufferPointer) {
    func begins(_ prefix: String, at start: Int = 0) -> Bool {
      bytes.dropFirst(start).starts(with: prefix.utf8)
    }
    func begins(_ prefix: [UInt8]) -> Bool { bytes.starts(with: prefix) }
    if bytes.isEmpty {
      self = .empty
    } else if begins([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]) {
      self = .png
    } else if begins([0xff, 0xd8, 0xff]) {
      self = .jpeg
    } else if begins("RIFF") && begins("WEBP", at: 8) {
      self = .webP
    } else if begins("GIF87a") || begins("GIF89a") {
      self = .gif
    } else if begins("BM") {
      self = .bmp
    } else if begins([0x49, 0x49, 0x2a, 0]) || begins([0x4d, 0x4d, 0, 0x2a]) || begins([0x49, 0x49, 0x2b, 0])
    {
      self = .tiff
    } else if begins("ftyp", at: 4) {
      self =
        begins("avi", at: 8)
        ? .avif : ["heic", "heix", "mif1", "hevc"].contains { begins($0, at: 8) } ? .heic : .unknown
    } else if begins([0xff, 0x0a]) || begins([0, 0, 0, 0x0c, 0x4a, 0x58, 0x4c, 0x20]) {
      self = .jpegXL
    } else if begins([0, 0, 0, 0x0c, 0x6a, 0x50, 0x20, 0x20]) || begins([0xff, 0x4f, 0xff, 0x51]) {
      self = .jpeg2000
    } else if begins([0, 0, 1, 0]) {
      self = .ico
    } else if begins("8BPS") {
      self = .psd
    } else if begins("%PDF") {
      self = .pdf
    } else {
      let start = UnsafeRawBufferPointer(rebasing: bytes.prefix(1024))
      let text = String(decoding: start, as: UTF8.self)
      let isText =
        !start.contains { $0 < 0x09 || (0x0e..<0x20).contains($0) }
        && !text.dropLast().unicodeScalars.contains("\u{fffd}")
      self = text.contains("<svg") ? .svg : isText ? .text : .unknown
    }
  }

  /// With its article, for a sentence.
  var name: String {
    switch self {
    case .png: "a PNG image"
    case .jpeg: "a JPEG image"
    case .webP: "a WebP image"
    case .gif: "a GIF image"
    case .bmp: "a BMP image"
    case .tiff: "a TIFF image"
    case .avif: "an AVIF image"
    case .heic: "a HEIC image"
    case .jpegXL: "a JPEG XL image"
    case .jpeg2000: "a JPEG 2000 image"
    case .ico: "an ICO image"
    case .psd: "a Photoshop document"
    case .svg: "an SVG drawing"
    case .pdf: "a PDF document"
    case .empty: "an empty file"
    case .text: "a text"
    case .unknown: "something else"
    }
  }

  /// Whether something can make a PNG of it.
  var isImage: Bool { self != .empty && self != .text && self != .unknown }
}
