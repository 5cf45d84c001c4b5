import Glibc

/// An image stretched to another size: OpenCV's `INTER_CUBIC` on float32 samples. Model.md 4.3.
///
/// Four taps a side whatever the ratio (no antialiasing), a = −0.75, edges repeated, nothing clamped: results may lie outside 0…255.
///
/// - Returns: height · width · 3 samples, R, G, B interleaved.
func cubicResize(_ image: RGBImage, width: Int, height: Int) -> [Float] {
  if width == image.width && height == image.height { return image.samples.map(Float.init) }
  // Images with a side below the four taps do not reach IPP.
  let portable = min(image.width, image.height) < 4
  let across = CubicTaps(from: image.width, to: width, portable: portable)
  let down = CubicTaps(from: image.height, to: height, portable: portable)

  // Each source row that is needed, stretched sideways: (rows of the source, width · 3).
  let wide = [Float](unsafeUninitializedCapacity: image.height * width * 3) { buffer, count in
    let out = Shared(buffer.baseAddress!)
    inParallel(over: image.height, by: 16) { rows in
      for y in rows {
        let source = y * image.width
        for x in 0..<width {
          let (places, weights) = (across.places[x], across.weights[x])
          for channel in 0..<3 {
            var sum: Float = 0
            for tap in 0..<4 { sum += Float(image.samples[(source + places[tap]) * 3 + channel]) * weights[tap] }
            out.pointer[(y * width + x) * 3 + channel] = sum
          }
        }
      }
    }
    count = image.height * width * 3
  }
  return [Float](unsafeUninitializedCapacity: height * width * 3) { buffer, count in
    let out = Shared(buffer.baseAddress!)
    let line = width * 3
    inParallel(over: height, by: 16) { rows in
      for y in rows {
        let (places, weights) = (down.places[y], down.weights[y])
        for x in 0..<line {
          var sum: Float = 0
          for tap in 0..<4 { sum += wide[places[tap] * line + x] * weights[tap] }
          out.pointer[y * line + x] = sum
        }
      }
    }
    count = height * width * 3
  }
}

/// For each place of a stretched line, the four source places it is made of and their weights.
///
/// OpenCV has two codes for this. Its portable one rounds a position to float32; the one that its x86 wheels run, Intel's IPP, does not.
/// They differ by up to 6e-4 after normalisation where an image is 5000 pixels wide, and mistral-common's users have the second.
private struct CubicTaps {
  var places: [SIMD4<Int>] = []
  var weights: [SIMD4<Float>] = []

  init(from source: Int, to target: Int, portable: Bool) {
    let scale = Double(source) / Double(target)
    let a = -0.75
    for place in 0..<target {
      let exact = (Double(place) + 0.5) * scale - 0.5
      let centre = portable ? Double(Float(exact)) : exact  // of the target pixel, in source pixels
      let first = floor(centre)
      let x = centre - first
      let w0 = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
      let w1 = ((a + 2) * x - (a + 3)) * x * x + 1
      let w2 = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
      places.append(SIMD4((0..<4).map { min(max(Int(first) - 1 + $0, 0), source - 1) }))
      weights.append(SIMD4(Float(w0), Float(w1), Float(w2), Float(1 - w0 - w1 - w2)))
    }
  }
}
