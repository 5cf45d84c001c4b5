import PixtralStorage

/// How far a tensor is from another of the same shape, by norm and never element by element, summed
/// in double.
package struct Distance: Sendable, Equatable {
  /// `‖a − e‖ / ‖e‖`.
  package var relF = 0.0
  /// The largest `‖a − e‖ / ‖e‖` of a row, and which row.
  package var worstRow = 0.0
  package var worstRowIndex = 0
  /// The largest `|a − e|` over the root mean square of e.
  package var maxOverRMS = 0.0
}

/// What a distance may be. Written so that NaN never passes.
package struct DistanceLimit: Sendable, Equatable {
  package let relF: Double
  package let worstRow: Double
  package let maxOverRMS: Double

  /// Limits on single rows and elements follow from the one on the whole: one bad row of a thousand
  /// must not hide.
  package init(relF: Double) {
    self.relF = relF
    worstRow = 10 * relF
    maxOverRMS = 100 * relF
  }

  /// The limit for the narrower of two dtypes. Docs/Trace.md says where the numbers come from.
  package init(for dtypes: DType...) {
    let narrow: [DType: Double] = [.bf16: 5e-2, .f16: 1e-2, .f32: 3e-5, .f64: 1e-10]
    self.init(relF: dtypes.map { narrow[$0]! }.max()!)
  }

  package func allows(_ distance: Distance) -> Bool {
    distance.relF <= relF && distance.worstRow <= worstRow && distance.maxOverRMS <= maxOverRMS
  }
}

/// Two traces, tap by tap.
package struct Comparison: Sendable {
  package enum Verdict: Sendable, Equatable {
    case close(Distance)
    case far(Distance)
    case otherShape(expected: [Int], found: [Int])
    /// The first position at which exactly one of the two is finite, or where both are infinite
    /// with other signs, or NaN.
    case nonFinite(row: Int, column: Int)
    case missing
  }

  package struct Tap: Sendable {
    package let name: String
    package let limit: DistanceLimit
    package let verdict: Verdict

    package var passed: Bool { if case .close = verdict { true } else { false } }
  }

  /// In the order of the reference's bytes, which is the order of computation.
  package let taps: [Tap]
  /// Taps that only the candidate has.
  package let extra: [String]

  package var firstDivergence: Tap? { taps.first { !$0.passed } }
  package var passed: Bool { firstDivergence == nil }

  /// - globs: shell patterns of the taps to compare; empty for all of the reference's.
  /// - limit: instead of the one that the dtypes imply.
  /// - Throws: `InputError` of kind `wrongTap` if a pattern matches nothing.
  package init(reference: TraceFile, candidate: TraceFile, globs: [String] = [], limit: DistanceLimit? = nil)
    throws
  {
    for glob in globs where !reference.taps.contains(where: { $0.name.matches(glob: glob) }) {
      throw InputError(
        .wrongTap, "--taps \(glob)", expected: "a pattern that matches a tap of \(reference.path)",
        found: "none",
        advice: "Docs/Model.md, section 8, lists them")
    }
    let chosen = reference.taps.filter { tap in
      globs.isEmpty || globs.contains { tap.name.matches(glob: $0) }
    }
    let known = Set(reference.taps.map(\.name))
    extra = candidate.taps.map(\.name).filter { !known.contains($0) }
    taps = chosen.map { expected in
      guard let found = candidate.taps.first(where: { $0.name == expected.name }) else {
        return Tap(name: expected.name, limit: limit ?? DistanceLimit(for: expected.dtype), verdict: .missing)
      }
      let limit = limit ?? DistanceLimit(for: expected.dtype, found.dtype)
      return Tap(name: expected.name, limit: limit, verdict: judge(found, against: expected, limit))
    }
  }
}

/// A trace to compare: the tensors of a safetensors file.
package struct TraceFile: Sendable {
  package let path: String
  let taps: [StoredTensor]

  /// - path: a trace folder, or a safetensors file of any runtime with taps as its tensors.
  package init(_ path: String) throws {
    let file = try Safetensors(isFolder(path) ? "\(path)/trace.safetensors" : path)
    self.path = path
    taps = try file.tensors.map { tensor in
      guard !tensor.shape.isEmpty, !tensor.range.isEmpty else {
        throw InputError(
          .wrongTrace, "\(path), tensor \(tensor.name)", expected: "a matrix with at least one value",
          found: "\(tensor.shape)")
      }
      return StoredTensor(tensor, of: file.file)
    }
    guard !taps.isEmpty else {
      throw InputError(.wrongTrace, path, expected: "at least one tap", found: "none")
    }
  }
}

/// Shape first, then positions that are not finite, then the norm.
private func judge(_ found: StoredTensor, against expected: StoredTensor, _ limit: DistanceLimit)
  -> Comparison.Verdict
{
  guard found.shape == expected.shape else {
    return .otherShape(expected: expected.shape, found: found.shape)
  }
  let (rows, columns) = (expected.rows, expected.columns)
  var distance = Distance()
  var (errors, squares, largest) = (0.0, 0.0, 0.0)
  for row in 0..<rows {
    let (e, a): ([Double], [Double]) = (expected.rows(row..<row + 1).values, found.rows(row..<row + 1).values)
    var (rowErrors, rowSquares) = (0.0, 0.0)
    for column in 0..<columns {
      if !e[column].isFinite || !a[column].isFinite {
        // Equal infinities agree (masked scores are −∞); NaN equals nothing, itself included.
        if e[column] == a[column] { continue }
        return .nonFinite(row: row, column: column)
      }
      let error = a[column] - e[column]
      rowErrors += error * error
      rowSquares += e[column] * e[column]
      largest = max(largest, error.magnitude)
    }
    let ratio = quotient(rowErrors.squareRoot(), rowSquares.squareRoot())
    if ratio > distance.worstRow { (distance.worstRow, distance.worstRowIndex) = (ratio, row) }
    errors += rowErrors
    squares += rowSquares
  }
  distance.relF = quotient(errors.squareRoot(), squares.squareRoot())
  distance.maxOverRMS = quotient(largest, (squares / Double(rows * columns)).squareRoot())
  return limit.allows(distance) ? .close(distance) : .far(distance)
}

/// An error over a size; nothing over nothing is no error, something over nothing is infinite.
private func quotient(_ error: Double, _ size: Double) -> Double { error == 0 ? 0 : error / size }
