/// An image as the model sees colours: 8-bit RGB, row after row. Model.md 4.2.
public struct RGBImage: Sendable, Equatable {
  public let size: ImageSize
  /// `height · width · 3` samples.
  public let samples: [UInt8]

  public var width: Int { size.width }
  public var height: Int { size.height }

  public init(_ size: ImageSize, samples: [UInt8]) {
    precondition(size.width > 0 && size.height > 0 && samples.count == size.width * size.height * 3, "an image of another size")
    self.size = size
    self.samples = samples
  }
}

/// What a file says of its image, without the samples.
public struct ImageSize: Sendable, Equatable {
  public let width: Int
  public let height: Int
  /// EXIF's orientation, if the file has one: 1 is upright. It is not applied, as in mistral-common.
  public let orientation: Int?

  public init(width: Int, height: Int, orientation: Int? = nil) {
    self.width = width
    self.height = height
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
  /// - Throws: `InputError` of kind `wrongImage`, `brokenImage` or `largeImage`.
  public init(decoding bytes: UnsafeRawBufferPointer, place: String, maxPixels: Int = usualPixels) throws {
    let canvas = Canvas()
    let size = try ImageSize(decoding: bytes, onto: canvas, place, maxPixels)
    self.init(size, samples: canvas.samples)
  }

  /// Reads and decodes a file.
  public init(file path: String, maxPixels: Int = usualPixels) throws {
    self = try MappedFile(path).withBytes { try RGBImage(decoding: $0, place: path, maxPixels: maxPixels) }
  }
}

extension ImageSize {
  /// Decodes a file to its end, to know that it is whole, and keeps none of its samples.
  public init(file path: String, maxPixels: Int = RGBImage.usualPixels) throws {
    self = try MappedFile(path).withBytes { try ImageSize(decoding: $0, onto: nil, path, maxPixels) }
  }

  fileprivate init(decoding bytes: UnsafeRawBufferPointer, onto canvas: Canvas?, _ place: String, _ maxPixels: Int) throws {
    let format = ImageFormat(bytes)
    do {
      switch format {
      case .png: self = try PNG.decode(bytes, onto: canvas, maxPixels: maxPixels)
      case .jpeg: self = try JPEG.decode(bytes, onto: canvas, maxPixels: maxPixels)
      default:
        throw InputError(
          .wrongImage, place, expected: "a PNG or JPEG image", found: format.name,
          advice: format.isImage ? "convert it first, for instance with ImageMagick: magick FILE FILE.png" : "")
      }
    } catch let failure as DecodingFailure where failure.kind == .largeImage {
      throw InputError(
        .largeImage, place, expected: "an image of at most \(maxPixels) pixels, \(max(65535, maxPixels / 32)) on a side",
        found: failure.message,
        advice: "raise the limit with --max-pixels")
    } catch let failure as DecodingFailure {
      throw InputError(
        failure.kind, place, expected: "a PNG or JPEG image", found: "\(format.name) that does not decode: \(failure.message)")
    }
  }
}

/// RGB rows as a decoder makes them, from top to bottom.
final class Canvas {
  private(set) var samples: [UInt8] = []
  private var rows = 0

  /// Adds the next of `height` rows: `paint` writes its `width · 3` samples.
  func addRow(of width: Int, height: Int, _ paint: (UnsafeMutablePointer<UInt8>) -> Void) {
    if samples.isEmpty {
      // Not cleared: pages that no row reaches cost nothing.
      samples = [UInt8](unsafeUninitializedCapacity: width * height * 3) { $1 = width * height * 3 }
    }
    samples.withUnsafeMutableBufferPointer { paint($0.baseAddress! + rows * width * 3) }
    rows += 1
  }
}

/// Why a library gave a file up.
struct DecodingFailure: Error {
  /// `wrongImage` for what stands before the samples, `brokenImage` for the samples, or `largeImage`.
  let kind: InputError.Kind
  /// One phrase; of a large one its size.
  let message: String
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
