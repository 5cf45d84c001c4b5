import CJPEG
import Glibc

extension RGBImage {
  /// Every kind of JPEG to RGB: YCbCr, RGB, grey, CMYK and YCCK; baseline and progressive.
  static func decodeJPEG(_ bytes: UnsafeRawBufferPointer, _ place: String, _ maxPixels: Int) throws -> RGBImage {
    let data = bytes.bindMemory(to: UInt8.self)
    let image = jpeg_decode(data.baseAddress, data.count, UInt64(maxPixels))
    defer { free(image.samples) }
    guard let samples = image.samples else { throw refusal(place, "JPEG", message(of: image.message), maxPixels) }
    let (width, height) = (Int(image.width), Int(image.height))
    let rgb =
      image.components == 4 ? fromCMYK(samples, width * height) : Array(UnsafeBufferPointer(start: samples, count: width * height * 3))
    return RGBImage(width: width, height: height, samples: rgb, orientation: Orientation.inJPEG(bytes))
  }

  /// Inks as Adobe stores them, inverted: what is stored is how much light each lets through. Pillow's conversion takes them so with any file.
  private static func fromCMYK(_ samples: UnsafePointer<UInt8>, _ pixels: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: pixels * 3) { out, count in
      for pixel in 0..<pixels {
        let light = samples[pixel * 4 + 3]
        for ink in 0..<3 { out[pixel * 3 + ink] = light - scaled(255 - samples[pixel * 4 + ink], by: light) }
      }
      count = pixels * 3
    }
  }
}
