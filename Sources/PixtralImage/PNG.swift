import CPNG
import Glibc

extension PNGImage: DecodedFile {}

/// Every kind of PNG, as Pillow makes it RGBA and mistral-common lays that on white. Model.md 4.2.
package enum PNG {
  /// Decodes a whole file, row by row, onto a canvas if there is one.
  static func decode(
    _ bytes: UnsafeRawBufferPointer, onto canvas: Canvas?, maxPixels: Int
  ) throws(DecodingFailure) -> ImageSize {
    let painter = Painter()
    let size = try PixtralImage.decode(
      bytes, onto: canvas, maxPixels: maxPixels, with: png_decode, paint: painter.paint)
    return ImageSize(width: size.width, height: size.height, orientation: Orientation.inPNG(bytes))
  }

  /// A file of 8-bit RGB.
  package static func encode(_ image: RGBImage) -> [UInt8] {
    let file = png_encode(image.samples, UInt32(image.width), UInt32(image.height))
    guard let bytes = file.bytes else { fatalError("out of memory") }
    defer { free(bytes) }
    return Array(UnsafeBufferPointer(start: bytes, count: file.count))
  }

  /// Makes RGB of rows as they are stored.
  private final class Painter {
    private var palette: [(rgb: (UInt8, UInt8, UInt8), alpha: UInt8)] = []

    func paint(_ image: PNGImage, _ row: UnsafePointer<UInt8>, to line: UnsafeMutablePointer<UInt8>) {
      if image.has_palette != 0 {
        addColours(image, row, to: line)
      } else if image.channels < 3 {
        addGrey(image, row, to: line)
      } else if image.channels == 3 && image.bit_depth == 8 {
        line.update(from: row, count: Int(image.width) * 3)
      } else {
        addRGB(image, row, to: line)
      }
    }

    private func addColours(
      _ image: PNGImage, _ row: UnsafePointer<UInt8>, to line: UnsafeMutablePointer<UInt8>
    ) {
      if palette.isEmpty { palette = colours(image) }
      for x in 0..<Int(image.width) {
        let colour = palette[Int(row[x])]
        lay(colour.rgb, alpha: colour.alpha, on: line + x * 3)
      }
    }

    private func addGrey(_ image: PNGImage, _ row: UnsafePointer<UInt8>, to line: UnsafeMutablePointer<UInt8>)
    {
      let (channels, step) = (Int(image.channels), image.bit_depth == 16 ? 2 : 1)
      let grain = grain(image)
      for x in 0..<Int(image.width) {
        let pixel = row + x * channels * step
        // Of 16 bits the high byte counts; but grey without alpha is cut off at 255, as Pillow's
        // conversion of its mode I;16 has it.
        let isCut = step == 2 && channels == 1
        let grey = isCut ? (pixel[0] > 0 ? 255 : pixel[1]) : pixel[0] &* grain
        lay(
          (grey, grey, grey), alpha: channels == 2 ? pixel[step] : isKey(grey, image) ? 0 : 255,
          on: line + x * 3)
      }
    }

    private func addRGB(_ image: PNGImage, _ row: UnsafePointer<UInt8>, to line: UnsafeMutablePointer<UInt8>)
    {
      // Of 16 bits the high byte counts.
      let (channels, step) = (Int(image.channels), image.bit_depth == 16 ? 2 : 1)
      for x in 0..<Int(image.width) {
        let pixel = row + x * channels * step
        lay(
          (pixel[0], pixel[step], pixel[2 * step]), alpha: channels == 4 ? pixel[3 * step] : 255,
          on: line + x * 3)
      }
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
    /// where it scales both. A tRNS of RGB is ignored, since mistral-common leaves RGB as it is.
    private func isKey(_ grey: UInt8, _ image: PNGImage) -> Bool {
      guard image.transparency_count > 0 else { return false }
      let (high, low) = (image.transparency.0, image.transparency.1)
      return image.bit_depth == 1 ? (grey != 0) == (high | low != 0) : grey == low
    }

    /// `255 / (2^depth − 1)`: what makes a sample of fewer than 8 bits one of 8.
    private func grain(_ image: PNGImage) -> UInt8 {
      switch image.bit_depth {
      case 1: 255
      case 2: 85
      case 4: 17
      default: 1
      }
    }

    /// 256 colours: what a palette leaves out is black, and opaque what tRNS leaves out.
    private func colours(_ image: PNGImage) -> [(rgb: (UInt8, UInt8, UInt8), alpha: UInt8)] {
      withUnsafeBytes(of: image.palette) { palette in
        withUnsafeBytes(of: image.transparency) { alpha in
          // Pillow takes a tRNS of one transparent colour, all others opaque, for that colour's
          // number; and overlooks a line feed at its end.
          var count = Int(image.transparency_count)
          let others = alpha[..<max(0, count - 1)]
          if count > 1, alpha[count - 1] == 10, others.count(where: { $0 == 0 }) == 1,
            others.allSatisfy({ $0 == 0 || $0 == 255 })
          {
            count -= 1
          }
          return (0..<256).map { index in
            let isThere = index < Int(image.palette_count)
            let rgb =
              isThere ? (palette[index * 3], palette[index * 3 + 1], palette[index * 3 + 2]) : (0, 0, 0)
            return (rgb, index < count ? alpha[index] : 255)
          }
        }
      }
    }
  }
}
