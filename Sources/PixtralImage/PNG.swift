import CZlib

/// Every kind of PNG, as Pillow makes it RGBA and mistral-common lays that on white. Model.md 4.2.
package struct PNG: ImageFile {
  private let bytes: UnsafeRawBufferPointer
  private var file: PNGFile

  var width: Int { file.width }
  var height: Int { file.height }
  var notes: OrientationNotes { file.notes }

  init(_ bytes: UnsafeRawBufferPointer) throws(ImageFault) {
    self.bytes = bytes
    file = try PNGFile(bytes)
  }

  /// A row takes memory too: a side may have a 32nd of the pixels.
  static func longestSide(maxPixels: Int) -> Int { max(maxPixels / 32, 65535) }

  mutating func draw(on canvas: Canvas?, maxPixels: Int) throws(ImageFault) {
    guard !file.samples.isEmpty else { throw ImageFault(.os, "no samples") }
    if let palette = file.palette, palette.count / 3 > 256 {
      throw ImageFault(.value, "a palette of \(palette.count / 3) colours")
    }
    let all = PNGFile.Frame(x: 0, y: 0, width: width, height: height)
    let frame = file.frame ?? all
    guard frame.width > 0, frame.height > 0 else {
      throw ImageFault(.value, "a picture of an animation without pixels")
    }
    var faultBehind: ImageFault?
    do throws(ImageFault) { try file.readOn() } catch { faultBehind = error }

    // A byte inflates to 1032 at most: a shorter file is not worth the memory of its canvas.
    let stream = file.stream
    let needed = file.layout.rowBytes(frame.width) * frame.height / 1032
    var rows = PNGRows(stream)
    let isShort = stream.reduce(0) { $0 + $1.count } < needed
    let painter = Painter(file)
    let end: PNGRows.End =
      isShort
      ? .outOfData
      : rows.read(
        width: frame.width, height: frame.height, file.layout,
        frame == all
          ? canvas.map { canvas in
            { row, pass, y, columns in
              canvas.draw(x: pass.x, y: pass.y + y * pass.dy) {
                painter.paint(row, columns, to: $0, pass.dx * 3)
              }
            }
          } : nil)

    if end == .outOfData { throw file.end }
    if let faultBehind { throw faultBehind }
    if case .damaged(let message) = end { throw ImageFault(.os, message) }
    if rows.unread > 0, let last = file.samples.last, last.isCut {
      throw ImageFault(.os, "the file ends in a chunk \(last.name)")
    }
    if file.layout.colour == 3, !file.transparency.isInPalette {
      throw ImageFault(.value, "a tRNS for more colours than 256")
    }
    // Pillow has nothing to draw here, and draws it: transparent, or black.
    if end == .endOfStream { throw ImageFault(nil, "the samples end too early") }
    if frame != all { throw ImageFault(nil, "a first picture that is smaller than the image") }
  }

  /// A file of 8-bit RGB.
  package static func encode(_ image: RGBImage) -> [UInt8] {
    var file: [UInt8] = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]
    func bigEndian(_ value: Int) -> [UInt8] { withUnsafeBytes(of: UInt32(value).bigEndian, Array.init) }
    func add(_ name: String, _ content: [UInt8]) {
      let body = Array(name.utf8) + content
      file += bigEndian(content.count) + body + bigEndian(Int(crc32_z(0, body, body.count)))
    }
    // Each row as its distance from the one above, which is filter 2.
    let stride = image.width * 3
    var rows: [UInt8] = []
    rows.reserveCapacity((stride + 1) * image.height)
    for start in Swift.stride(from: 0, to: image.samples.count, by: stride) {
      rows.append(2)
      for at in start..<start + stride {
        rows.append(at < stride ? image.samples[at] : image.samples[at] &- image.samples[at - stride])
      }
    }
    let packed = [UInt8](unsafeUninitializedCapacity: Int(compressBound(UInt(rows.count)))) { output, count in
      var room = UInt(output.count)
      let code = compress2(output.baseAddress, &room, rows, UInt(rows.count), 6)
      precondition(code == Z_OK, "zlib compresses with \(code)")
      count = Int(room)
    }
    add("IHDR", bigEndian(image.width) + bigEndian(image.height) + [8, 2, 0, 0, 0])
    add("IDAT", packed)
    add("IEND", [])
    return file
  }
}

extension PNGFile.Transparency {
  /// Whether a palette can have it, which has 256 colours.
  fileprivate var isInPalette: Bool {
    switch self {
    case .none: true
    case .one(let number): number < 256
    case .all(let alphas): alphas.count <= 256
    }
  }
}

/// Makes RGB of rows as they are stored.
private struct Painter {
  private let layout: PNGLayout
  private let transparency: PNGFile.Transparency
  /// 256 colours: what a palette leaves out is black, and opaque what tRNS leaves out.
  private let palette: [(rgb: (UInt8, UInt8, UInt8), alpha: UInt8)]

  init(_ file: PNGFile) {
    (layout, transparency) = (file.layout, file.transparency)
    palette = (0..<(file.layout.colour == 3 ? 256 : 0)).map { index in
      let alpha: UInt8 =
        switch file.transparency {
        case .none: 255
        case .one(let number): index == number ? 0 : 255
        case .all(let alphas): index < alphas.count ? alphas[index] : 255
        }
      guard let colours = file.palette, index < colours.count / 3 else { return ((0, 0, 0), alpha) }
      return ((colours[index * 3], colours[index * 3 + 1], colours[index * 3 + 2]), alpha)
    }
  }

  /// - step: bytes from a pixel to the next.
  func paint(_ row: UnsafePointer<UInt8>, _ width: Int, to line: UnsafeMutablePointer<UInt8>, _ step: Int) {
    switch layout.colour {
    case 3:
      for x in 0..<width {
        let colour = palette[sample(row, x)]
        lay(colour.rgb, alpha: colour.alpha, on: line + x * step)
      }
    case 0, 4: paintGrey(row, width, to: line, step)
    default:
      if layout.colour == 2 && layout.depth == 8 && step == 3 {
        line.update(from: row, count: width * 3)
      } else {
        paintRGB(row, width, to: line, step)
      }
    }
  }

  private func paintGrey(
    _ row: UnsafePointer<UInt8>, _ width: Int, to line: UnsafeMutablePointer<UInt8>, _ step: Int
  ) {
    let (channels, size) = (layout.channels, layout.depth == 16 ? 2 : 1)
    for x in 0..<width {
      let grey: UInt8
      if layout.depth < 8 {
        grey = UInt8(sample(row, x) * 255 / ((1 << layout.depth) - 1))
      } else {
        let pixel = row + x * channels * size
        // Of 16 bits the high byte counts; but grey without alpha is cut off at 255, as Pillow's
        // conversion of its mode I;16 has it.
        grey = size == 2 && channels == 1 ? (pixel[0] > 0 ? 255 : pixel[1]) : pixel[0]
      }
      let alpha = channels == 2 ? row[(x * 2 + 1) * size] : isKey(grey) ? 0 : 255
      lay((grey, grey, grey), alpha: alpha, on: line + x * step)
    }
  }

  private func paintRGB(
    _ row: UnsafePointer<UInt8>, _ width: Int, to line: UnsafeMutablePointer<UInt8>, _ step: Int
  ) {
    // Of 16 bits the high byte counts.
    let (channels, size) = (layout.channels, layout.depth == 16 ? 2 : 1)
    for x in 0..<width {
      let pixel = row + x * channels * size
      lay(
        (pixel[0], pixel[size], pixel[2 * size]), alpha: channels == 4 ? pixel[3 * size] : 255,
        on: line + x * step)
    }
  }

  /// A sample of 8 bits or fewer, as stored.
  private func sample(_ row: UnsafePointer<UInt8>, _ x: Int) -> Int {
    let bit = x * layout.depth
    return Int(row[bit / 8]) >> (8 - layout.depth - bit % 8) & ((1 << layout.depth) - 1)
  }

  /// Lays a pixel on white.
  private func lay(_ rgb: (UInt8, UInt8, UInt8), alpha: UInt8, on pixel: UnsafeMutablePointer<UInt8>) {
    func laid(_ sample: UInt8) -> UInt8 {
      // Pillow rounds once for both: c·a + 255·(255 − a), divided by 255 to the nearest.
      by255(UInt32(sample) * UInt32(alpha) + 255 * (255 - UInt32(alpha)))
    }
    (pixel[0], pixel[1], pixel[2]) = (laid(rgb.0), laid(rgb.1), laid(rgb.2))
  }

  /// Whether a grey is the one that tRNS makes transparent. Pillow compares the low byte of what
  /// tRNS says with the sample of 8 bits that it has made, whatever the depth, but for one bit,
  /// where it scales both.
  private func isKey(_ grey: UInt8) -> Bool {
    guard case .one(let key) = transparency, layout.colour == 0 else { return false }
    return layout.depth == 1 ? (grey != 0) == (key != 0) : grey == UInt8(truncatingIfNeeded: key)
  }
}
