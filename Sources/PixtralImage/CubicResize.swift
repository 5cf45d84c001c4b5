import Glibc

/// An image stretched to the size of its grid. Model.md 4.3.
package struct StretchedImage: Sendable {
  package let width: Int
  package let height: Int
  /// `height · width` pixels, row after row: R, G, B and an unused lane. Values are about 0…255, and
  /// are not clamped.
  package let pixels: [SIMD4<Float>]

  /// R, G and B of all pixels, row after row.
  package var samples: [Float] { pixels.flatMap { [$0.x, $0.y, $0.z] } }
}

extension RGBImage {
  /// The image stretched to another size: OpenCV's `INTER_CUBIC` on float32 samples. Model.md 4.3.
  ///
  /// Four taps a side whatever the ratio (no antialiasing), a = −0.75, edges repeated, nothing
  /// clamped: results may lie outside 0…255.
  package func stretched(to newWidth: Int, _ newHeight: Int) -> StretchedImage {
    // Images with a side below the four taps do not reach IPP.
    let portable = min(width, height) < 4
    let down = CubicTap.line(from: height, to: newHeight, portable: portable)
    var lines = WideLines(self, CubicTap.line(from: width, to: newWidth, portable: portable))

    var pixels: [SIMD4<Float>] = []
    pixels.reserveCapacity(newHeight * newWidth)
    for tap in down {
      lines.read(tap.places)
      lines.mix(tap, into: &pixels)
    }
    return StretchedImage(width: newWidth, height: newHeight, pixels: pixels)
  }

  /// The image stretched to its grid.
  package func stretched(to grid: PatchGrid, patchSize: Int) -> StretchedImage {
    stretched(to: grid.columns * patchSize, grid.rows * patchSize)
  }
}

/// Lines of an image, stretched sideways when they are asked for: the last four are kept, and the
/// next needs them.
private struct WideLines {
  private let image: RGBImage
  private let taps: [CubicTap]
  /// Line `y` has its place at `y % 4`; and which line each place holds.
  private var lines: [[SIMD4<Float>]]
  private var held = SIMD4(repeating: -1)
  /// A line as it is in the image.
  private var row: [SIMD4<Float>]

  init(_ image: RGBImage, _ taps: [CubicTap]) {
    (self.image, self.taps) = (image, taps)
    row = [SIMD4<Float>](repeating: .zero, count: image.width)
    lines = [[SIMD4<Float>]](repeating: [SIMD4<Float>](repeating: .zero, count: taps.count), count: 4)
  }

  /// Makes sure that four lines are there.
  mutating func read(_ wanted: SIMD4<Int>) {
    for index in 0..<4 where held[wanted[index] % 4] != wanted[index] {
      held[wanted[index] % 4] = wanted[index]
      image.stretch(wanted[index], taps, row: &row, to: &lines[wanted[index] % 4])
    }
  }

  /// Adds a line made of four that are there.
  func mix(_ tap: CubicTap, into pixels: inout [SIMD4<Float>]) {
    let (line0, line1) = (lines[tap.places[0] % 4], lines[tap.places[1] % 4])
    let (line2, line3) = (lines[tap.places[2] % 4], lines[tap.places[3] % 4])
    let (w0, w1, w2, w3) = (tap.weights[0], tap.weights[1], tap.weights[2], tap.weights[3])
    for x in taps.indices {
      pixels.append(line0[x] * w0 + line1[x] * w1 + line2[x] * w2 + line3[x] * w3)
    }
  }
}

extension RGBImage {
  /// Stretches a line sideways.
  ///
  /// Indices are not checked here, in an image's hottest loops: `CubicTap` keeps its places inside
  /// the line.
  ///
  /// - row: gets the line as it is in the image.
  fileprivate func stretch(
    _ y: Int, _ taps: [CubicTap], row: inout [SIMD4<Float>], to line: inout [SIMD4<Float>]
  ) {
    precondition((0..<height).contains(y) && row.count == width, "a line of the image")
    let samples = samples.span
    var at = y * width * 3
    for x in row.indices {
      let (r, g, b) = (samples[unchecked: at], samples[unchecked: at + 1], samples[unchecked: at + 2])
      row[x] = SIMD4(Float(r), Float(g), Float(b), 0)
      at += 3
    }
    let pixels = row.span
    for x in taps.indices {
      let (places, weights) = (taps[x].places, taps[x].weights)
      let left = pixels[unchecked: places[0]] * weights[0] + pixels[unchecked: places[1]] * weights[1]
      line[x] = left + pixels[unchecked: places[2]] * weights[2] + pixels[unchecked: places[3]] * weights[3]
    }
  }
}

/// The four source places that a place of a stretched line is made of, and their weights.
///
/// OpenCV has two implementations of this. Its portable one rounds a position to float32; the one
/// that its x86 wheels run, Intel's IPP, does not. They differ by up to 2e-3 after normalisation,
/// and mistral-common's users have the second wherever an image has the four lines and columns that
/// it needs.
private struct CubicTap {
  let places: SIMD4<Int>
  let weights: SIMD4<Float>

  /// - scale: the quotient of both lengths.
  init(_ place: Int, scale: Double, sources: Int, portable: Bool) {
    let exact = (Double(place) + 0.5) * scale - 0.5
    let centre = portable ? Double(Float(exact)) : exact  // of the target pixel, in source pixels
    let first = floor(centre)
    let x = centre - first
    let a = -0.75
    let w0 = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
    let w1 = ((a + 2) * x - (a + 3)) * x * x + 1
    let w2 = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
    weights = SIMD4(Float(w0), Float(w1), Float(w2), Float(1 - w0 - w1 - w2))
    places = (Int(first) &+ SIMD4(-1, 0, 1, 2))
      .clamped(lowerBound: .zero, upperBound: SIMD4(repeating: sources - 1))
  }

  /// The taps of all places of a line.
  static func line(from source: Int, to target: Int, portable: Bool) -> [CubicTap] {
    // Twice divided, as OpenCV has it: the last bit decides where a position lies between two
    // float32 numbers.
    let scale = 1 / (Double(target) / Double(source))
    return (0..<target).map { CubicTap($0, scale: scale, sources: source, portable: portable) }
  }
}
