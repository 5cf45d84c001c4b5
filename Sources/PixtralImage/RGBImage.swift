import PixtralStorage

/// An image as the model sees colours: 8-bit RGB, row after row. Model.md 4.2.
public struct RGBImage: Sendable, Equatable {
  /// Width and height in pixels.
  public let size: ImageSize
  /// `height · width · 3` samples: R, G and B of the first pixel, of the next one in its row, and
  /// so on.
  public let samples: [UInt8]

  /// Width in pixels.
  public var width: Int { size.width }
  /// Height in pixels.
  public var height: Int { size.height }

  /// An image from samples.
  public init(_ size: ImageSize, samples: [UInt8]) {
    precondition(
      size.width > 0 && size.height > 0 && samples.count == size.width * size.height * 3,
      "an image of another size")
    self.size = size
    self.samples = samples
  }
}

/// What a file says of its image, without the samples.
public struct ImageSize: Sendable, Equatable {
  /// Width in pixels.
  public let width: Int
  /// Height in pixels.
  public let height: Int
  /// How Pillow's `ImageOps.exif_transpose` would turn the picture, as EXIF numbers it, from 2 to
  /// 8; nil for a picture that is upright. It is not applied, as in mistral-common.
  public let orientation: Int?

  /// A size in pixels.
  public init(width: Int, height: Int, orientation: Int? = nil) {
    self.width = width
    self.height = height
    self.orientation = orientation
  }

  /// More pixels than this are refused unless asked for: twice Pillow's `Image.MAX_IMAGE_PIXELS`,
  /// beyond which it refuses too.
  public static let usualMaxPixels = 178_956_970
}

extension RGBImage {
  /// Decodes a PNG or a JPEG of any kind. Samples stay as stored: gamma, colour profiles and EXIF
  /// orientation are not applied.
  ///
  /// - Parameters:
  ///   - bytes: the whole file.
  ///   - place: named in errors.
  ///   - maxPixels: images of more are refused before they are decoded.
  /// - Throws: `InputError` of kind `wrongImage`, `brokenImage` or `largeImage`.
  public init(
    decoding bytes: UnsafeRawBufferPointer, place: String, maxPixels: Int = ImageSize.usualMaxPixels
  ) throws(InputError) {
    do throws(DecodingFailure) {
      let image = try decodeImage(bytes, maxPixels: maxPixels, keepsSamples: true)
      self.init(image.size, samples: image.samples)
    } catch {
      throw error.at(place)
    }
  }

  /// Reads and decodes a file.
  ///
  /// - Throws: `InputError` of kind `unreadableFile`, `wrongImage`, `brokenImage` or `largeImage`.
  public init(file path: String, maxPixels: Int = ImageSize.usualMaxPixels) throws(InputError) {
    self = try MappedFile(path).withBytes { bytes throws(InputError) in
      try RGBImage(decoding: bytes, place: path, maxPixels: maxPixels)
    }
  }
}

extension ImageSize {
  /// Decodes a file to its end, to know that it is whole, and keeps none of its samples.
  ///
  /// - Throws: `InputError` of kind `unreadableFile`, `wrongImage`, `brokenImage` or `largeImage`.
  public init(file path: String, maxPixels: Int = usualMaxPixels) throws(InputError) {
    self = try MappedFile(path).withBytes { bytes throws(InputError) in
      do throws(DecodingFailure) {
        return try decodeImage(bytes, maxPixels: maxPixels, keepsSamples: false).size
      } catch {
        throw error.at(path)
      }
    }
  }
}

extension ImageSize {
  /// The size that a file's header gives; nil for a file that cannot be read. Its samples may still
  /// turn out to be broken.
  package static func announced(by path: String) -> ImageSize? {
    guard let file = try? MappedFile(path) else { return nil }
    return file.withBytes { bytes in
      switch ImageFormat(bytes) {
      case .png: (try? PNG(bytes)).map { ImageSize(width: $0.width, height: $0.height) }
      case .jpeg: (try? JPEG(bytes)).map { ImageSize(width: $0.width, height: $0.height) }
      default: nil
      }
    }
  }
}
