/// What the vision encoder takes of one image: normalised samples [3, height, width], both sides multiples of the patch size.
///
/// Always float32, whatever the precision of the run: it is an input, and mistral-common's is float32.
public struct Pixels: Sendable, Equatable {
  public static let channels = 3

  public let height: Int
  public let width: Int
  /// Channel after channel, row after row.
  public let values: [Float]

  public init(height: Int, width: Int, values: [Float]) {
    precondition(values.count == Self.channels * height * width, "\(values.count) samples for [3, \(height), \(width)]")
    self.height = height
    self.width = width
    self.values = values
  }

  public subscript(channel: Int, y: Int, x: Int) -> Float { values[(channel * height + y) * width + x] }

  public func grid(patchSize: Int) -> PatchGrid { PatchGrid(columns: width / patchSize, rows: height / patchSize) }
}

extension Pixels {
  /// An image stretched to its grid and normalised. Model.md 4.3 and 4.4.
  public init(_ image: RGBImage, rule: ImageRule) {
    let grid = rule.grid(width: image.width, height: image.height)
    let (width, height) = (grid.columns * rule.patchSize, grid.rows * rule.patchSize)
    let resized = cubicResize(image, width: width, height: height)
    let plane = width * height
    let (mean, deviation) = (SIMD4(Self.mean + [0]), SIMD4(Self.deviation + [1]))
    let values = [Float](unsafeUninitializedCapacity: Self.channels * plane) { values, count in
      let out = Shared(values.baseAddress!)
      inParallel(over: plane, by: 1 << 16) { pixels in
        for pixel in pixels {
          let sample = (resized[pixel] / 255 - mean) / deviation
          for channel in 0..<Self.channels { out.pointer[channel * plane + pixel] = sample[channel] }
        }
      }
      count = Self.channels * plane
    }
    self.init(height: height, width: width, values: values)
  }

  /// Of R, G and B over the data that the encoder was trained on, as mistral-common writes them.
  static let mean: [Float] = [0.481_454_66, 0.457_827_5, 0.408_210_73]
  static let deviation: [Float] = [0.268_629_54, 0.261_302_58, 0.275_777_11]
}
