/// An image as the model sees colours: 8-bit RGB, row after row. Model.md 4.2.
public struct RGBImage: Sendable, Equatable {
  public let width: Int
  public let height: Int
  /// `height · width · 3` samples.
  public let samples: [UInt8]
  /// EXIF's orientation, if the file has one: 1 is upright. It is not applied, as in mistral-common.
  public let orientation: Int?

  public init(width: Int, height: Int, samples: [UInt8], orientation: Int? = nil) {
    precondition(width > 0 && height > 0 && samples.count == width * height * 3, "an image of another size")
    self.width = width
    self.height = height
    self.samples = samples
    self.orientation = orientation
  }
}

extension RGBImage {
  /// More pixels than this are refused unless asked for: what a file of a few kilobytes may make of itself.
  public static let usualPixels = 1 << 25

  /// Decodes a PNG or a JPEG of any kind. Samples stay as stored: gamma, colour profiles and EXIF orientation are not applied.
  ///
  /// - place: named in errors.
  /// - maxPixels: images of more are refused.
  /// - Throws: `InputError` of kind `wrongImage`.
  public init(decoding bytes: UnsafeRawBufferPointer, place: String, maxPixels: Int = usualPixels) throws {
    switch ImageFormat(bytes) {
    case .png: self = try Self.decodePNG(bytes, place, maxPixels)
    case .jpeg: self = try Self.decodeJPEG(bytes, place, maxPixels)
    case let other:
      throw InputError(
        .wrongImage, place, expected: "a PNG or JPEG image", found: other.name,
        advice: other.isImage ? "convert it first, for instance with ImageMagick: magick FILE FILE.png" : "")
    }
  }

  /// Reads and decodes a file.
  public init(file path: String, maxPixels: Int = usualPixels) throws {
    self = try MappedFile(path).withBytes { try RGBImage(decoding: $0, place: path, maxPixels: maxPixels) }
  }

  static func refusal(_ place: String, _ format: String, _ message: String, _ maxPixels: Int) -> InputError {
    let advice = message == "too many pixels" ? "the limit is \(maxPixels); raise it with --max-pixels" : ""
    return InputError(
      .wrongImage, place, expected: "a PNG or JPEG image", found: "a \(format) that does not decode: \(message)", advice: advice)
  }
}

/// `a · b / 255`, rounded to the nearest: Pillow's, wherever it mixes two samples.
func scaled(_ a: UInt8, by b: UInt8) -> UInt8 {
  let product = UInt32(a) * UInt32(b) + 128
  return UInt8((product + product >> 8) >> 8)
}

/// The text in a C array of characters.
func message<Tuple>(of tuple: Tuple) -> String {
  withUnsafeBytes(of: tuple) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}
