import CJPEG

/// Every kind of JPEG: YCbCr, RGB, grey, CMYK and YCCK; baseline and progressive.
enum JPEG {
  /// Decodes a whole file, row by row, onto a canvas if there is one.
  static func decode(_ bytes: UnsafeRawBufferPointer, onto canvas: Canvas?, maxPixels: Int) throws(DecodingFailure) -> ImageSize {
    let data = bytes.bindMemory(to: UInt8.self)
    let image =
      if let canvas {
        withExtendedLifetime(Painter(canvas)) { painter in
          jpeg_decode(
            data.baseAddress, data.count, UInt64(maxPixels),
            { Unmanaged<Painter>.fromOpaque($0!).takeUnretainedValue().add($1!.pointee, $2!) },
            Unmanaged.passUnretained(painter).toOpaque())
        }
      } else {
        jpeg_decode(data.baseAddress, data.count, UInt64(maxPixels), nil, nil)
      }
    if image.is_too_large != 0 { throw DecodingFailure(kind: .largeImage, message: "\(image.width)×\(image.height)") }
    guard image.is_whole != 0 else {
      throw DecodingFailure(kind: image.is_open != 0 ? .brokenImage : .wrongImage, message: message(of: image.message))
    }
    return ImageSize(width: Int(image.width), height: Int(image.height), orientation: Orientation.inJPEG(bytes))
  }

  private final class Painter {
    private let canvas: Canvas

    init(_ canvas: Canvas) { self.canvas = canvas }

    func add(_ image: JPEGImage, _ row: UnsafePointer<UInt8>) {
      let width = Int(image.width)
      canvas.addRow(of: width, height: Int(image.height)) { line in
        if image.components < 4 { line.update(from: row, count: width * 3) } else { addInks(row, to: line, width) }
      }
    }

    /// Inks as Adobe stores them, inverted: what is stored is how much light each lets through. Pillow's conversion takes them so with any file.
    private func addInks(_ row: UnsafePointer<UInt8>, to line: UnsafeMutablePointer<UInt8>, _ width: Int) {
      for x in 0..<width {
        let light = row[x * 4 + 3]
        for ink in 0..<3 { line[x * 3 + ink] = light - scaled(255 - row[x * 4 + ink], by: light) }
      }
    }
  }
}
