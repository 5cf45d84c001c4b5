/// How far right runs may be in attention's context on given inputs. Trace.md, off by themselves.
///
/// Softmax makes a factor of what is added to a score, so that rounding scores of 100 changes the context
/// a hundred times as much as rounding scores of 1. The noise at a tap was measured with the scores of the
/// seeded models; this is measured with those that a candidate has.
struct AttentionNoise {
  let heads: Heads
  let segments: [Range<Int>]
  let causal: Bool

  /// The largest distances of four runs in float64, each with other roundings of the scores.
  ///
  /// - context: the one without.
  func callAsFunction(
    _ q: Matrix<Double>, _ k: Matrix<Double>, _ v: Matrix<Double>, _ context: Matrix<Double>,
    in arithmetic: Arithmetic
  ) -> Distance {
    var most = Distance()
    for n in 0..<4 {
      let rounded = rounded(k, run: n, in: arithmetic)
      let found = attention(q, rounded, v, heads: heads, segments: segments, causal: causal)
      var sum = DistanceSum()
      // Scores at the edge of what float64 holds.
      guard sum.add(found, against: context) == nil else { continue }
      let distance = sum.finish()
      most.relF = max(most.relF, distance.relF)
      most.worstRow = max(most.worstRow, distance.worstRow)
      most.maxOverRMS = max(most.maxOverRMS ?? 0, distance.maxOverRMS ?? 0)
    }
    return most
  }

  /// k with the roundings of its scores, up or down at random. A score is rounded as a product and when
  /// it is scaled, which changes a row of k as a whole. So is every term of its sum: once, as a factor; as
  /// often as there are terms, which at random is their square root, where sums are in the arithmetic too.
  private func rounded(_ k: Matrix<Double>, run: Int, in arithmetic: Arithmetic) -> Matrix<Double> {
    let hash = IndexHash("attention noise \(run)")
    let sumsAreWider = arithmetic != .float32 && arithmetic != .float64
    let terms = sumsAreWider ? 1 : Double(heads.dim).squareRoot()
    var k = k
    for n in k.values.indices {
      let ofScore = hash(UInt32(truncatingIfNeeded: n / heads.dim)) & 1 == 0 ? 2.0 : -2.0
      let ofTerm = hash(UInt32(truncatingIfNeeded: n)) & 2 == 0 ? terms : -terms
      k.values[n] *= 1 + arithmetic.unit * (ofScore + ofTerm)
    }
    return k
  }
}
