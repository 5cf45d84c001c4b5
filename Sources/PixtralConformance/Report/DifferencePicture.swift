import PixtralImage
import PixtralStorage

/// Two images that should be the same and their difference, small enough to keep.
package struct DifferencePicture: Sendable {
  /// The longest side that is kept; of larger images so many pixels become one.
  private static let longestSide = 384

  /// As they were, in pixels.
  let width: Int
  let height: Int
  /// One pixel kept stands for so many columns and rows.
  let columnsInOne: Int
  let rowsInOne: Int
  let expected: RGBImage
  let found: RGBImage
  /// Black where both are equal, white where they are farthest apart: of the pixels that one stands for
  /// the worst, and of its channels.
  let difference: RGBImage
  /// The largest difference of finite samples.
  let largest: Double
  /// The pixel that is off most, or has no number.
  let worst: (row: Int, column: Int)
  /// Pixels that are off by more than is allowed.
  let wrongPixels: Int
  /// Which rows these are, where some were picked from a larger image.
  var rowNumbers: [Int]?

  /// RGB of 8 bits, [height, width, 3].
  init(samples expected: [UInt8], _ found: [UInt8], width: Int, height: Int) {
    self.init(width: width, height: height, allowed: 0) { pixel, channel in
      (Double(expected[pixel * 3 + channel]), Double(found[pixel * 3 + channel]))
    } colour: { value, _ in
      value
    }
  }

  /// Normalised pixels, [3, height, width]; they are shown as the colours that they were.
  init(pixels expected: [Float], _ found: [Float], width: Int, height: Int, allowed: Double) {
    let plane = width * height
    self.init(width: width, height: height, allowed: allowed) { pixel, channel in
      (Double(expected[channel * plane + pixel]), Double(found[channel * plane + pixel]))
    } colour: { value, channel in
      (value * Pixels.deviation[channel] + Pixels.mean[channel]) * 255
    }
  }

  /// - values: the samples expected and found of a pixel, by its number, and a channel.
  /// - colour: what a sample looks like, from 0 to 255.
  private init(
    width: Int, height: Int, allowed: Double, values: (Int, Int) -> (Double, Double),
    colour: (Double, Int) -> Double
  ) {
    func share(_ side: Int) -> Int { (side + Self.longestSide - 1) / Self.longestSide }
    let (columnsInOne, rowsInOne) = (share(width), share(height))
    let size = ImageSize(
      width: (width + columnsInOne - 1) / columnsInOne, height: (height + rowsInOne - 1) / rowsInOne)
    var sums = [SIMD2<Double>](repeating: .zero, count: size.width * size.height * 3)
    var counts = [Double](repeating: 0, count: size.width * size.height)
    var farthest = counts
    var (largest, worstSoFar, worst, wrongPixels) = (0.0, -1.0, (row: 0, column: 0), 0)
    for row in 0..<height {
      for column in 0..<width {
        let place = row / rowsInOne * size.width + column / columnsInOne
        var off = 0.0
        for channel in 0..<3 {
          let (e, f) = values(row * width + column, channel)
          let difference = (e - f).magnitude
          off = difference.isNaN ? .infinity : max(off, difference)
          if difference.isFinite { largest = max(largest, difference) }
          sums[place * 3 + channel] += [shown(colour(e, channel)), shown(colour(f, channel))]
        }
        counts[place] += 1
        farthest[place] = max(farthest[place], off)
        if off > worstSoFar { (worstSoFar, worst) = (off, (row, column)) }
        if off > allowed { wrongPixels += 1 }
      }
    }
    func picture(_ n: Int) -> RGBImage {
      RGBImage(
        size,
        samples: sums.indices.map { UInt8((sums[$0][n] / counts[$0 / 3]).rounded()) })
    }
    (expected, found) = (picture(0), picture(1))
    difference = RGBImage(
      size,
      samples: farthest.flatMap { off in
        // The root lets small differences show beside large ones.
        let share = off == 0 ? 0 : off.isFinite && largest > 0 ? (off / largest).squareRoot() : 1
        return [UInt8](repeating: UInt8((share * 255).rounded()), count: 3)
      })
    (self.width, self.height, self.columnsInOne, self.rowsInOne) = (width, height, columnsInOne, rowsInOne)
    (self.largest, self.worst, self.wrongPixels) = (largest, worst, wrongPixels)
  }
}

/// What a screen can show of a value; of none, black.
private func shown(_ value: Double) -> Double { value.isNaN ? 0 : min(max(value, 0), 255) }
