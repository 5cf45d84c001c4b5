import Foundation
import PixtralImage
import PixtralStorage
import Testing

extension JSON {
  package var string: String? { if case .string(let value) = self { value } else { nil } }
  package var integer: Int? { if case .integer(let value) = self { value } else { nil } }
  package var array: [JSON]? { if case .array(let values) = self { values } else { nil } }
  package var decimals: [Double]? { array?.compactMap(\.decimal) }
  package var strings: [String]? { array?.compactMap(\.string) }
  package var members: [JSON.Member]? { if case .object(let members) = self { members } else { nil } }

  /// What a key has in base64.
  package func bytes(_ key: String) throws -> [UInt8] {
    let text = try #require(self[key]?.string, "no \(key)")
    return Array(try #require(Data(base64Encoded: text), "\(key) is no base64"))
  }

  /// An image written as `width`, `height` and `rgb`.
  package func rgbImage() throws -> RGBImage {
    let size = ImageSize(
      width: try #require(self["width"]?.integer), height: try #require(self["height"]?.integer))
    return RGBImage(size, samples: try bytes("rgb"))
  }
}
