import Glibc

/// An image stretched to another size: OpenCV's `INTER_CUBIC` on float32 samples. Model.md 4.3.
///
/// Four taps a side whatever the ratio (no antialiasing), a = −0.75, edges repeated, nothing clamped: results may lie outside 0…255.
///
/// - Returns: `height · width` pixels (R, G, B and nothing), row after row.
func cubicResize(_ image: RGBImage, width: Int, height: Int) -> [SIMD4<Float>] {
  // Images with a side below the four taps do not reach IPP.
  let portable = min(image.width, image.height) < 4
  let across = CubicTap.line(from: image.width, to: width, portable: portable)
  let down = CubicTap.line(from: image.height, to: height, portable: portable)

  return [SIMD4<Float>](unsafeUninitializedCapacity: height * width) { buffer, count in
    let out = Shared(buffer.baseAddress!)
    inParallel(over: height, by: 128) { rows in
      let lines = WideLines(image, across)
      for y in rows {
        let tap = down[y]
        let (line0, line1, line2, line3) = (lines[tap.places[0]], lines[tap.places[1]], lines[tap.places[2]], lines[tap.places[3]])
        let target = out.pointer + y * width
        for x in 0..<width {
          target[x] = line0[x] * tap.weights[0] + line1[x] * tap.weights[1] + line2[x] * tap.weights[2] + line3[x] * tap.weights[3]
        }
      }
    }
    count = height * width
  }
}

/// Lines of an image, stretched sideways when they are asked for: the last four are kept, and the next needs them.
private final class WideLines {
  private let image: RGBImage
  private let taps: [CubicTap]
  private let width: Int
  /// Which line each of the four places holds; line `y` has its place at `y % 4`.
  private var held = SIMD4(repeating: -1)
  private let wide: UnsafeMutablePointer<SIMD4<Float>>
  private let narrow: UnsafeMutablePointer<SIMD4<Float>>

  init(_ image: RGBImage, _ taps: [CubicTap]) {
    (self.image, self.taps) = (image, taps)
    width = taps.count
    wide = .allocate(capacity: 4 * width)
    narrow = .allocate(capacity: image.width)
  }

  deinit {
    wide.deallocate()
    narrow.deallocate()
  }

  subscript(y: Int) -> UnsafePointer<SIMD4<Float>> {
    let line = wide + y % 4 * width
    if held[y % 4] != y {
      held[y % 4] = y
      stretch(y, to: line)
    }
    return UnsafePointer(line)
  }

  private func stretch(_ y: Int, to line: UnsafeMutablePointer<SIMD4<Float>>) {
    image.samples.withUnsafeBufferPointer { samples in
      let row = samples.baseAddress! + y * image.width * 3
      for x in 0..<image.width { narrow[x] = SIMD4(Float(row[x * 3]), Float(row[x * 3 + 1]), Float(row[x * 3 + 2]), 0) }
    }
    var target = line
    for tap in taps {
      let (pixel0, pixel1, pixel2, pixel3) = (narrow[tap.places[0]], narrow[tap.places[1]], narrow[tap.places[2]], narrow[tap.places[3]])
      target.pointee = pixel0 * tap.weights[0] + pixel1 * tap.weights[1] + pixel2 * tap.weights[2] + pixel3 * tap.weights[3]
      target += 1
    }
  }
}

/// The four source places that a place of a stretched line is made of, and their weights.
///
/// OpenCV has two codes for this. Its portable one rounds a position to float32; the one that its x86 wheels run, Intel's IPP, does not. They differ by up
/// to 1e-3 after normalisation, and mistral-common's users have the second wherever an image has the four lines and columns that it needs.
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
    places = (Int(first) &+ SIMD4(-1, 0, 1, 2)).clamped(lowerBound: .zero, upperBound: SIMD4(repeating: sources - 1))
  }

  static func line(from source: Int, to target: Int, portable: Bool) -> [CubicTap] {
    // Twice divided, as OpenCV has it: the last bit decides where a position lies between two float32 numbers.
    let scale = 1 / (Double(target) / Double(source))
    return (0..<target).map { CubicTap($0, scale: scale, sources: source, portable: portable) }
  }
}
