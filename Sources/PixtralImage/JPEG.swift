import CJPEG

extension JPEGImage: DecodedFile {}

/// Every kind of JPEG: YCbCr, RGB, grey, CMYK and YCCK; baseline and progressive. Model.md 4.2.
enum JPEG {
  /// Decodes a whole file, row by row, onto a canvas if there is one.
  static func decode(
    _ bytes: UnsafeRawBufferPointer, onto canvas: Canvas?, maxPixels: Int
  ) throws(DecodingFailure) -> ImageSize {
    let size = try PixtralImage.decode(bytes, onto: canvas, maxPixels: maxPixels, with: jpeg_decode) {
      (file: JPEGImage, row, line) in
      let width = Int(file.width)
      if file.components < 4 {
        line.update(from: row, count: width * 3)
      } else {
        addInks(row, to: line, width)
      }
    }
    return ImageSize(width: size.width, height: size.height, orientation: Orientation.inJPEG(bytes))
  }

  /// C, M, Y and K as Adobe stores them, inverted: how much light each lets through. Pillow takes
  /// them so with any file.
  private static func addInks(
    _ row: UnsafePointer<UInt8>, to line: UnsafeMutablePointer<UInt8>, _ width: Int
  ) {
    for x in 0..<width {
      let light = row[x * 4 + 3]
      for ink in 0..<3 { line[x * 3 + ink] = light - by255(UInt32(255 - row[x * 4 + ink]) * UInt32(light)) }
    }
  }
}
