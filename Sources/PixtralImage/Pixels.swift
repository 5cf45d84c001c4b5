/// What the vision encoder takes of one image: normalised samples [3, height, width], both sides
/// multiples of the patch size.
///
/// Always float32, whatever the precision of the run: it is an input, and mistral-common's is
/// float32.
public struct Pixels: Sendable, Equatable {
  /// R, G and B.
  public static let channels = 3

  /// Rows of pixels.
  public let height: Int
  /// Columns of pixels.
  public let width: Int
  /// `3 · height · width` samples: channel after channel, row after row.
  public let values: [Float]

  /// Samples made elsewhere: channel after channel, row after row.
  public init(height: Int, width: Int, values: [Float]) {
    precondition(
      values.count == Self.channels * height * width, "\(values.count) samples for [3, \(height), \(width)]")
    self.height = height
    self.width = width
    self.values = values
  }

  /// One sample.
  public subscript(channel: Int, y: Int, x: Int) -> Float { values[(channel * height + y) * width + x] }

  /// Which patches the samples are.
  public func grid(patchSize: Int) -> PatchGrid {
    PatchGrid(columns: width / patchSize, rows: height / patchSize)
  }
}

extension Pixels {
  /// An image stretched to its grid and normalised. Model.md 4.3 and 4.4.
  public init(_ image: RGBImage, rule: ImageRule = .m1) {
    self.init(normalising: image.stretched(to: rule.grid(image.size), patchSize: rule.patchSize))
  }

  /// `(value / 255 − mean) / std`, channels first. Model.md 4.4.
  package init(normalising image: StretchedImage) {
    let plane = image.width * image.height
    let values = [Float](capacity: Self.channels * plane) { values in
      for channel in 0..<Self.channels {
        let (mean, deviation) = (Float(Self.mean[channel]), Float(Self.deviation[channel]))
        for pixel in image.pixels {
          values.append((pixel[channel] / 255 - mean) / deviation)
        }
      }
    }
    self.init(height: image.height, width: image.width, values: values)
  }

  /// Of R, G and B over the data that the encoder was trained on, in the digits that mistral-common
  /// writes.
  package static let mean = [0.481_454_66, 0.457_827_5, 0.408_210_73]
  package static let deviation = [0.268_629_54, 0.261_302_58, 0.275_777_11]
}
