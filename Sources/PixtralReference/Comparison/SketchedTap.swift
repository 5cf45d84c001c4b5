import PixtralStorage

/// A candidate's tap as it was judged, seen by its sketch: how far is it from another answer?
package struct SketchedTap {
  private let sketch: [Float]
  private let isFinite: Bool
  /// The norm of the reference's tap.
  package let reference: Double

  private init(_ digest: TapDigest, reference: Double) {
    (sketch, isFinite, self.reference) = (digest.sketch, digest.notFinite == 0, reference)
  }

  /// Of a tensor beside the one that is right.
  init(_ name: String, _ found: TapView, against expected: TapView) {
    self.init(found.digest(as: name), reference: expected.digest(as: name).norm)
  }

  /// Of a matrix of `rows` rows.
  package init(_ name: String, _ values: [Float], rows: Int, reference: Double) {
    self.init(
      TapDigest(of: name, Matrix<Float>(rows: rows, columns: values.count / max(1, rows), values: values)),
      reference: reference)
  }

  /// The estimate of `‖found − other‖`; infinite if a value is not finite.
  package func distance(to other: [Float]) -> Double {
    guard isFinite else { return .infinity }
    return zip(sketch, other).reduce(0) { sum, pair in
      let error = Double(pair.0) - Double(pair.1)
      return sum + error * error
    }.squareRoot()
  }
}

extension Comparison {
  /// A tap as the candidate has it: the rows that were compared, q and k in the order of taps.
  ///
  /// - rows: the rows that a case keeps of the tap, where more may have been compared; nil for all.
  /// - Returns: nil for a tap that it lacks, or that has another shape.
  package func sketch(of tap: String, rows: [Int]?) -> SketchedTap? {
    guard var (found, expected) = judgedViews(of: tap) else { return nil }
    if let rows, expected.rows > rows.count {
      guard rows.allSatisfy({ $0 < expected.rows }) else { return nil }
      (found, expected) = (found.picking(rows), expected.picking(rows))
    }
    return SketchedTap(tap, found, against: expected)
  }

  /// Whether the candidate's tap is the reference's with one vector added to each row, to a quarter of what is
  /// added: so is a bias.
  ///
  /// - Returns: nil for a tap that it lacks, a digest, or one row, where anything is such a vector.
  package func addsOneRow(_ tap: String) -> Bool? {
    guard let (found, expected) = judgedViews(of: tap), expected.rows > 1, found.tensor.digest == nil,
      expected.tensor.digest == nil
    else { return nil }
    let columns = expected.columns
    let differences = (0..<expected.rows).map { row in
      zip(found.values(row..<row + 1), expected.values(row..<row + 1)).map { $0 - $1 }
    }
    let mean = (0..<columns).map { column in
      differences.reduce(0) { $0 + $1[column] } / Double(differences.count)
    }
    let whole = differences.reduce(0) { $1.reduce($0) { $0 + $1 * $1 } }
    let rest = differences.reduce(0) { zip($1, mean).reduce($0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } }
    return whole.isFinite && rest < whole / 16
  }

  /// The two sides of a tap as they were judged.
  private func judgedViews(of tap: String) -> (found: TapView, expected: TapView)? {
    guard let pair = pairs.first(where: { $0.name == tap }), let found = pair.found, pair.verdict == nil
    else { return nil }
    return pair.views(found, RotaryPart(tap: tap).flatMap { halfSplit[$0] })
  }
}
