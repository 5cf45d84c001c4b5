import CPNG

extension RGBImage {
  /// Every kind of PNG to RGB, as Pillow makes it RGBA and mistral-common lays that on white.
  static func decodePNG(_ bytes: UnsafeRawBufferPointer, _ place: String, _ maxPixels: Int) throws -> RGBImage {
    let canvas = Canvas()
    let data = bytes.bindMemory(to: UInt8.self)
    let image = png_decode(
      data.baseAddress, data.count, UInt64(maxPixels),
      { context, image, y, samples in
        Unmanaged<Canvas>.fromOpaque(context!).takeUnretainedValue().add(image!.pointee, y: Int(y), samples!)
      }, Unmanaged.passUnretained(canvas).toOpaque())
    guard image.is_whole != 0 else { throw refusal(place, "PNG", message(of: image.message), maxPixels) }
    return RGBImage(
      width: Int(image.width), height: Int(image.height), samples: canvas.samples, orientation: Orientation.inPNG(bytes))
  }
}

/// RGB rows as they come.
private final class Canvas {
  private(set) var samples: [UInt8] = []
  private var palette: [(rgb: (UInt8, UInt8, UInt8), alpha: UInt8)] = []

  func add(_ image: PNGImage, y: Int, _ row: UnsafePointer<UInt8>) {
    if y == 0 {
      samples.reserveCapacity(Int(image.width) * Int(image.height) * 3)
      if image.has_palette != 0 { palette = colours(image) }
    }
    let (channels, step) = (Int(image.channels), image.bit_depth == 16 ? 2 : 1)
    for x in 0..<Int(image.width) {
      let pixel = row + x * channels * step
      if image.has_palette != 0 {
        let colour = palette[Int(pixel[0])]
        add(colour.rgb, alpha: colour.alpha)
        continue
      }
      let isGrey = channels < 3
      // Of 16 bits the high byte counts; but grey without alpha is cut off at 255, as Pillow's conversion of its mode I;16 has it.
      let isWideGrey = image.bit_depth == 16 && channels == 1
      func sample(_ channel: Int) -> UInt8 {
        let high = pixel[channel * step]
        return isWideGrey ? (high > 0 ? 255 : pixel[1]) : high &* grain(image)
      }
      let first = sample(0)
      let rgb = isGrey ? (first, first, first) : (first, sample(1), sample(2))
      let alpha = image.has_alpha != 0 ? sample(channels - 1) : isGrey && isKey(first, image) ? 0 : 255
      add(rgb, alpha: alpha)
    }
  }

  /// Lays a pixel on white.
  private func add(_ rgb: (UInt8, UInt8, UInt8), alpha: UInt8) {
    func laid(_ sample: UInt8) -> UInt8 {
      // Pillow rounds once for both: c·a + 255·(255 − a), divided by 255 to the nearest.
      let sum = UInt32(sample) * UInt32(alpha) + 255 * (255 - UInt32(alpha)) + 128
      return UInt8((sum + sum >> 8) >> 8)
    }
    samples.append(laid(rgb.0))
    samples.append(laid(rgb.1))
    samples.append(laid(rgb.2))
  }

  /// Whether a grey is the one that tRNS makes transparent. Pillow compares the low byte of what tRNS says with the sample of 8 bits that it has made,
  /// whatever the depth, but for one bit, where it scales both. Of a colour that tRNS names nothing comes: mistral-common leaves RGB as it is.
  private func isKey(_ grey: UInt8, _ image: PNGImage) -> Bool {
    guard image.has_key != 0 else { return false }
    return image.bit_depth == 1 ? (grey != 0) == (image.key != 0) : grey == UInt8(truncatingIfNeeded: image.key)
  }

  /// What a step of a sample of fewer than 8 bits is in one of 8.
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
      withUnsafeBytes(of: image.palette_alpha) { alpha in
        (0..<256).map { index in
          let isThere = index < Int(image.palette_count)
          let rgb = isThere ? (palette[index * 3], palette[index * 3 + 1], palette[index * 3 + 2]) : (0, 0, 0)
          return (rgb, index < Int(image.palette_alpha_count) ? alpha[index] : 255)
        }
      }
    }
  }
}
