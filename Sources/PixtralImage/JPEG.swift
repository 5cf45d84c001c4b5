import CJPEG

/// Every kind of JPEG: YCbCr, RGB, grey, CMYK and YCCK; baseline and progressive. Model.md 4.2.
struct JPEG: ImageFile {
  private let bytes: UnsafeRawBufferPointer
  private let file: JPEGFile

  var width: Int { file.width }
  var height: Int { file.height }
  var notes: OrientationNotes { file.notes }

  init(_ bytes: UnsafeRawBufferPointer) throws(ImageFault) {
    self.bytes = bytes
    file = try JPEGFile(bytes)
  }

  /// The format's own limit; libjpeg's is a little lower.
  static func longestSide(maxPixels: Int) -> Int { 65535 }

  func draw(on canvas: Canvas?, maxPixels: Int) throws(ImageFault) {
    guard file.scanComponents > 0 else { throw ImageFault(.os, "no scan") }
    guard max(width, height) <= 65500 else { throw ImageFault(.os, "a side of more than 65,500 pixels") }
    guard !file.isLossless else { throw ImageFault(nil, "a lossless one, which this libjpeg does not read") }
    // 100 scans, or 20 of the largest images; encoders make about ten.
    let scans = 20 * min(5, max(1, maxPixels / (width * height)))
    let frame = JPEGFrame(width: UInt32(width), height: UInt32(height), components: Int32(file.components))
    if file.hasManyScans {
      // A block has a bit at least: a shorter file is not worth the memory that libjpeg takes to
      // collect all scans. Arithmetic coding needs less.
      if !file.isArithmetic && width * height / 64 / 8 > bytes.count {
        throw ImageFault(bytes.hasEndMarker ? nil : .os, "fewer bits than blocks")
      }
      if canvas == nil, let outline = JPEGOutline(bytes) {
        try outline.bytes.span.withUnsafeBytes { bytes throws(ImageFault) in
          let frame = JPEGFrame(width: 8, height: 8, components: Int32(file.components))
          try decode(bytes, frame, scans, nil)
        }
        return
      }
    }
    try decode(
      bytes, frame, scans, canvas.map { Rows($0, width: width, height: height, isCMYK: file.components == 4) }
    )
  }

  private func decode(
    _ bytes: UnsafeRawBufferPointer, _ frame: JPEGFrame, _ maxScans: Int, _ rows: Rows?
  ) throws(ImageFault) {
    let data = bytes.bindMemory(to: UInt8.self)
    let result = withExtendedLifetime(rows) {
      jpeg_decode(
        frame, data.baseAddress, data.count, Int32(maxScans),
        rows == nil ? nil : { Unmanaged<Rows>.fromOpaque($0!).takeUnretainedValue().draw($1!) },
        rows.map { Unmanaged.passUnretained($0).toOpaque() })
    }
    guard result.is_whole != 0 else {
      let message = withUnsafeBytes(of: result.message) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      throw ImageFault(result.is_refused != 0 ? nil : .os, message)
    }
  }

  /// Takes rows from C, which knows a pointer to this.
  private final class Rows {
    private let canvas: Canvas
    private let width: Int
    private let height: Int
    private let isCMYK: Bool
    private var y = 0

    init(_ canvas: Canvas, width: Int, height: Int, isCMYK: Bool) {
      (self.canvas, self.width, self.height, self.isCMYK) = (canvas, width, height, isCMYK)
    }

    func draw(_ row: UnsafePointer<UInt8>) {
      precondition(y < height, "a row more than the frame has")
      canvas.draw(x: 0, y: y) { line in
        if isCMYK { addInks(row, to: line) } else { line.update(from: row, count: width * 3) }
      }
      y += 1
    }

    /// C, M, Y and K as Adobe stores them, inverted: how much light each lets through. Pillow takes
    /// them so with any file.
    private func addInks(_ row: UnsafePointer<UInt8>, to line: UnsafeMutablePointer<UInt8>) {
      for x in 0..<width {
        let light = row[x * 4 + 3]
        for ink in 0..<3 { line[x * 3 + ink] = light - by255(UInt32(255 - row[x * 4 + ink]) * UInt32(light)) }
      }
    }
  }
}

extension UnsafeRawBufferPointer {
  /// Whether a JPEG has an end marker anywhere: one that breaks off has none.
  fileprivate var hasEndMarker: Bool {
    indices.dropLast().contains { self[$0] == 0xff && self[$0 + 1] == 0xd9 }
  }
}
