import CJPEG
import CPNG
import Glibc

/// An image as the model sees colours: 8-bit RGB, row after row.
public struct RGBImage: Sendable, Equatable {
  public let width: Int
  public let height: Int
  /// `height · width · 3` samples.
  public let samples: [UInt8]

  public init(width: Int, height: Int, samples: [UInt8]) {
    precondition(width > 0 && height > 0 && samples.count == width * height * 3, "an image of another size")
    self.width = width
    self.height = height
    self.samples = samples
  }
}

extension RGBImage {
  /// Twice Pillow's warning limit: where Pillow calls a file a decompression bomb and refuses it.
  static let mostPixels = 178_956_970

  /// Decodes a PNG (8 bits a sample or fewer) or a JPEG (grey or colour). Samples stay as stored: gamma, colour profiles and EXIF
  /// orientation are not applied, as in mistral-common.
  ///
  /// - place: named in errors.
  /// - Throws: `InputError` of kind `wrongImage`.
  public init(decoding bytes: UnsafeRawBufferPointer, place: String) throws {
    func refuse(_ found: String, _ advice: String = "") -> InputError {
      InputError(.wrongImage, place, expected: "a PNG or JPEG image", found: found, advice: advice)
    }
    let data = bytes.bindMemory(to: UInt8.self)
    if bytes.starts(with: [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]) {
      let image = png_decode_rgba(data.baseAddress, data.count, UInt64(Self.mostPixels))
      defer { free(image.rgba) }
      guard let rgba = image.rgba else {
        let advice = image.bit_depth == 16 ? "convert it to 8 bits" : ""
        throw refuse("a PNG that does not decode: \(message(of: image.message))", advice)
      }
      self.init(onWhite: rgba, width: Int(image.width), height: Int(image.height))
    } else if bytes.starts(with: [0xff, 0xd8, 0xff]) {
      let image = jpeg_decode_rgb(data.baseAddress, data.count, UInt64(Self.mostPixels))
      defer { free(image.rgb) }
      guard let rgb = image.rgb else {
        let advice = image.components == 4 ? "convert it to RGB" : ""
        throw refuse("a JPEG that does not decode: \(message(of: image.message))", advice)
      }
      let (width, height) = (Int(image.width), Int(image.height))
      self.init(
        width: width, height: height, samples: Array(UnsafeBufferPointer(start: rgb, count: width * height * 3)))
    } else {
      throw refuse(bytes.isEmpty ? "an empty file" : "something else", "convert it to PNG or JPEG first")
    }
  }

  /// Reads and decodes a file.
  public init(file path: String) throws {
    self = try MappedFile(path).withBytes { try RGBImage(decoding: $0, place: path) }
  }

  /// Lays RGBA on white. The rounding is Pillow's `paste`: `c·a + 255·(255 − a)`, divided by 255 to the nearest.
  private init(onWhite rgba: UnsafePointer<UInt8>, width: Int, height: Int) {
    let samples = [UInt8](unsafeUninitializedCapacity: width * height * 3) { out, count in
      for pixel in 0..<width * height {
        let alpha = UInt32(rgba[pixel * 4 + 3])
        for channel in 0..<3 {
          let sum = UInt32(rgba[pixel * 4 + channel]) * alpha + 255 * (255 - alpha) + 128
          out[pixel * 3 + channel] = UInt8((sum + sum >> 8) >> 8)
        }
      }
      count = width * height * 3
    }
    self.init(width: width, height: height, samples: samples)
  }
}

/// The text in a C array of characters.
private func message<Tuple>(of tuple: Tuple) -> String {
  withUnsafeBytes(of: tuple) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}
