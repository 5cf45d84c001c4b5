import PixtralStorage

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
enum DecodingFailure: Error {
  /// The size is over the limit: the size found, and the longest side allowed.
  case large(ImageSize, maxSide: Int)
  /// `wrongImage` for what stands before the samples, `brokenImage` for the samples; and one
  /// phrase.
  case broken(InputError.Kind, String)
}

/// What libpng's and libjpeg's C sides both tell of a file: the fields of the same names there.
// swift-format-ignore: AlwaysUseLowerCamelCase
protocol DecodedFile {
  associatedtype Message
  var width: UInt32 { get }
  var height: UInt32 { get }
  var max_side: UInt32 { get }
  var is_too_large: Int32 { get }
  var is_open: Int32 { get }
  var is_whole: Int32 { get }
  var message: Message { get }
}

/// A C decoder: bytes and their number, the limit on pixels, who takes the rows.
typealias CDecoder<File> = (
  UnsafePointer<UInt8>?, Int, UInt64,
  (@convention(c) (UnsafeMutableRawPointer?, UnsafeRawPointer?, UnsafePointer<UInt8>?) -> Void)?,
  UnsafeMutableRawPointer?
) -> File

/// Decodes a whole file, row by row, onto a canvas if there is one.
///
/// - paint: writes a row of RGB, given what is known of the file and the row as the decoder has it.
func decode<File: DecodedFile>(
  _ bytes: UnsafeRawBufferPointer, onto canvas: Canvas?, maxPixels: Int, with decoder: CDecoder<File>,
  paint: @escaping (File, UnsafePointer<UInt8>, UnsafeMutablePointer<UInt8>) -> Void
) throws(DecodingFailure) -> ImageSize {
  let data = bytes.bindMemory(to: UInt8.self)
  let file: File
  if let canvas {
    let rows = Rows { file, row in
      let file = file.assumingMemoryBound(to: File.self)
      canvas.addRow(of: Int(file.pointee.width), height: Int(file.pointee.height)) {
        paint(file.pointee, row, $0)
      }
    }
    file = withExtendedLifetime(rows) {
      decoder(
        data.baseAddress, data.count, UInt64(maxPixels),
        { Unmanaged<Rows>.fromOpaque($0!).takeUnretainedValue().take($1!, $2!) },
        Unmanaged.passUnretained(rows).toOpaque())
    }
  } else {
    file = decoder(data.baseAddress, data.count, UInt64(maxPixels), nil, nil)
  }
  if file.is_too_large != 0 {
    throw .large(ImageSize(width: Int(file.width), height: Int(file.height)), maxSide: Int(file.max_side))
  }
  guard file.is_whole != 0 else {
    throw .broken(file.is_open != 0 ? .brokenImage : .wrongImage, text(of: file.message))
  }
  return ImageSize(width: Int(file.width), height: Int(file.height))
}

/// Takes rows from C, which knows a pointer to this.
private final class Rows {
  let take: (UnsafeRawPointer, UnsafePointer<UInt8>) -> Void

  init(_ take: @escaping (UnsafeRawPointer, UnsafePointer<UInt8>) -> Void) { self.take = take }
}

/// A product of two samples over 255, rounded to the nearest, as Pillow mixes them.
func by255(_ product: UInt32) -> UInt8 {
  let sum = product + 128
  return UInt8((sum + (sum >> 8)) >> 8)
}

/// The text in a C array of characters.
private func text<Characters>(of characters: Characters) -> String {
  withUnsafeBytes(of: characters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}
