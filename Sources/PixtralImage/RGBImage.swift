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
  /// EXIF's orientation, if the file has one: 1 is upright. It is not applied, as in
  /// mistral-common.
  public let orientation: Int?

  /// A size in pixels.
  public init(width: Int, height: Int, orientation: Int? = nil) {
    self.width = width
    self.height = height
    self.orientation = orientation
  }

  /// More pixels than this are refused unless asked for: what a file of a few kilobytes may make of
  /// itself.
  public static let usualMaxPixels = 1 << 25
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
    let canvas = Canvas()
    let size = try decode(bytes, onto: canvas, place: place, maxPixels: maxPixels)
    self.init(size, samples: canvas.samples)
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
      try ImageSize(decoding: bytes, place: path, maxPixels: maxPixels)
    }
  }

  /// The same of a file's bytes.
  package init(
    decoding bytes: UnsafeRawBufferPointer, place: String, maxPixels: Int
  ) throws(InputError) {
    self = try decode(bytes, onto: nil, place: place, maxPixels: maxPixels)
  }
}

extension ImageSize {
  /// The size that a file's header gives; nil for a file that cannot be read. Its samples may still
  /// turn out to be broken.
  package static func announced(by path: String) -> ImageSize? {
    guard let file = try? MappedFile(path) else { return nil }
    return file.withBytes { bytes in
      let decode = ImageFormat(bytes) == .png ? PNG.decode : JPEG.decode
      do throws(DecodingFailure) {
        // Behind the header any size is over this limit.
        return try decode(bytes, nil, 0)
      } catch {
        guard case .large(let size, _) = error else { return nil }
        return size
      }
    }
  }
}

/// Decodes a PNG or a JPEG to its end, onto a canvas if there is one.
///
/// - Returns: the size of the whole image.
private func decode(
  _ bytes: UnsafeRawBufferPointer, onto canvas: Canvas?, place: String, maxPixels: Int
) throws(InputError) -> ImageSize {
  let format = ImageFormat(bytes)
  guard format == .png || format == .jpeg else {
    throw InputError(
      .wrongImage, place, expected: "a PNG or JPEG image", found: format.name,
      advice: format.isImage ? "convert it first, for instance with ImageMagick: magick FILE FILE.png" : "")
  }
  do throws(DecodingFailure) {
    let decode = format == .png ? PNG.decode : JPEG.decode
    return try decode(bytes, canvas, maxPixels)
  } catch {
    switch error {
    case .large(let size, let maxSide):
      throw InputError(
        .largeImage, place, expected: "an image of at most \(maxPixels) pixels, \(maxSide) on a side",
        found: "\(size.width)×\(size.height)", advice: "raise the limit with --max-pixels")
    case .broken(let kind, let message):
      throw InputError(
        kind, place, expected: "a PNG or JPEG image",
        found: "\(format.name) that does not decode: \(message)")
    }
  }
}
