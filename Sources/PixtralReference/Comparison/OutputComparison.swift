import PixtralStorage

/// The output of one step against its golden.
package struct OutputComparison: Sendable {
  package let verdict: Comparison.Verdict
  /// What the distance may be.
  package let limit: DistanceLimit
  /// What was judged; nil for another shape.
  package private(set) var sketch: SketchedTap?

  /// - noise: how far right runs are from the golden, in each arithmetic.
  /// - arithmetic: what the runtime computes in.
  /// - Returns: nil where no right run was measured in the arithmetic: there is no verdict.
  package init?(
    _ found: StoredTensor, expected: StoredTensor, noise: [Arithmetic: Double], arithmetic: Arithmetic
  ) {
    // What is stored in fewer bits than it was computed in is rounded.
    let narrowest = Arithmetic.narrowest(of: [arithmetic, Arithmetic(storedAs: found.dtype)])
    guard var measured = noise[narrowest] else { return nil }
    // float64 has the least schedules, and errors grow with the unit of rounding.
    if narrowest == .float64 { measured = max(measured, (noise[.float32] ?? 0) * 0x1p-29) }
    limit = DistanceLimit(noise: max(measured, narrowest.leastNoise))
    let readings = TapView.readings(of: found, like: expected.shape, kept: nil, total: nil, heads: nil)
    guard let reading = readings.first else {
      verdict = .otherShape(expected: expected.shape, found: found.shape)
      return
    }
    let golden = TapView(expected)
    verdict = judge(reading, against: golden, limit)
    sketch = SketchedTap("output", reading, against: golden)
  }
}
