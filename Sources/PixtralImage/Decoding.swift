import PixtralStorage

/// What is wrong with an image file, and how Pillow fails with it.
struct ImageFault: Error, Equatable {
  enum Exception: String {
    case syntax = "SyntaxError"
    case index = "IndexError"
    case value = "ValueError"
    case os = "OSError"
    case unidentified = "UnidentifiedImageError"
  }

  /// nil where Pillow makes something of the file.
  let exception: Exception?
  /// One phrase.
  let message: String

  init(_ exception: Exception?, _ message: String) { (self.exception, self.message) = (exception, message) }

  /// The same where Pillow only opens the file: it tries other formats, and in the end says that it
  /// knows none.
  var onOpening: ImageFault {
    exception == .syntax || exception == .index ? ImageFault(.unidentified, message) : self
  }
}

/// Why an image is not read: an `InputError` that has no place yet.
package struct DecodingFailure: Error {
  /// `wrongImage` for what stands before the samples, `brokenImage` for the samples, `largeImage`.
  package let kind: InputError.Kind
  /// What Pillow raises; nil where it makes something of the file.
  package let exception: String?
  let expected: String
  let found: String
  var advice = ""

  package func at(_ place: String) -> InputError {
    InputError(kind, place, expected: expected, found: found, advice: advice)
  }
}

/// A kind of image file: opened, then drawn.
protocol ImageFile {
  /// Reads what stands before the samples.
  init(_ bytes: UnsafeRawBufferPointer) throws(ImageFault)
  var width: Int { get }
  var height: Int { get }
  /// No side may be longer, given the limit on pixels.
  static func longestSide(maxPixels: Int) -> Int
  /// Reads the file to its end and draws its picture, row after row; without a canvas it is only
  /// read.
  ///
  /// - maxPixels: bounds the work.
  mutating func draw(on canvas: Canvas?, maxPixels: Int) throws(ImageFault)
  /// Known when the file is read to its end.
  var notes: OrientationNotes { get }
}

/// Where a picture is drawn: 8-bit RGB, row after row.
final class Canvas {
  private let width: Int
  private(set) var samples: [UInt8]

  init(width: Int, height: Int) {
    self.width = width
    // Not cleared: pages that nothing reaches cost nothing.
    samples = [UInt8](unsafeUninitializedCapacity: width * height * 3) { $1 = width * height * 3 }
  }

  /// Draws from a pixel on.
  func draw(x: Int, y: Int, _ draw: (UnsafeMutablePointer<UInt8>) -> Void) {
    samples.withUnsafeMutableBufferPointer { draw($0.baseAddress! + (y * width + x) * 3) }
  }
}

/// Decodes a PNG or a JPEG to its end.
///
/// - keepsSamples: whether the picture is wanted, or only its size.
package func decodeImage(
  _ bytes: UnsafeRawBufferPointer, maxPixels: Int, keepsSamples: Bool
) throws(DecodingFailure) -> (size: ImageSize, samples: [UInt8]) {
  let format = ImageFormat(bytes)
  switch format {
  case .png: return try decode(PNG.self, format, bytes, maxPixels, keepsSamples)
  case .jpeg: return try decode(JPEG.self, format, bytes, maxPixels, keepsSamples)
  default:
    throw DecodingFailure(
      kind: .wrongImage, exception: format.isPillows ? nil : ImageFault.Exception.unidentified.rawValue,
      expected: "a PNG or JPEG image", found: format.name, advice: format.advice)
  }
}

private func decode<File: ImageFile>(
  _: File.Type, _ format: ImageFormat, _ bytes: UnsafeRawBufferPointer, _ maxPixels: Int, _ keepsSamples: Bool
) throws(DecodingFailure) -> (size: ImageSize, samples: [UInt8]) {
  func failure(_ kind: InputError.Kind, _ fault: ImageFault) -> DecodingFailure {
    DecodingFailure(
      kind: kind, exception: fault.exception?.rawValue, expected: "a PNG or JPEG image",
      found: "\(format.name) that does not decode: \(fault.message)")
  }
  var file: File
  do { file = try File(bytes) } catch { throw failure(.wrongImage, error) }

  let longest = File.longestSide(maxPixels: maxPixels)
  let (pixels, overflows) = file.width.multipliedReportingOverflow(by: file.height)
  let isLarge = overflows || pixels > maxPixels
  guard !isLarge, max(file.width, file.height) <= longest else {
    throw DecodingFailure(
      kind: .largeImage, exception: isLarge ? "DecompressionBombError" : nil,
      expected: "an image of at most \(maxPixels) pixels, \(longest) on a side",
      found: "\(file.width)×\(file.height)", advice: "raise the limit with --max-pixels")
  }
  let canvas = keepsSamples ? Canvas(width: file.width, height: file.height) : nil
  do { try file.draw(on: canvas, maxPixels: maxPixels) } catch { throw failure(.brokenImage, error) }
  let size = ImageSize(width: file.width, height: file.height, orientation: file.notes.turn)
  return (size, canvas?.samples ?? [])
}

/// A product of two samples over 255, rounded to the nearest, as Pillow mixes them.
func by255(_ product: UInt32) -> UInt8 {
  let sum = product + 128
  return UInt8((sum + (sum >> 8)) >> 8)
}
