import PixtralStorage

/// How far a tensor is from another of the same shape, by norm and never element by element, summed
/// in double.
package struct Distance: Sendable, Equatable {
  /// `‖a − e‖ / ‖e‖`.
  package var relF = 0.0
  /// The largest `‖a − e‖ / ‖e‖` of a row, and which row.
  package var worstRow = 0.0
  package var worstRowIndex = 0
  /// The largest `|a − e|` over the root mean square of e; nil where no single value is known.
  package var maxOverRMS: Double? = 0
  /// Whether it is of digests: relF is estimated, and the row by its norm.
  package var isEstimate = false
}

/// What a distance may be. Written so that NaN never passes.
package struct DistanceLimit: Sendable, Equatable {
  package let relF: Double
  package let worstRow: Double
  package let maxOverRMS: Double
  /// Beyond this multiple a distance is far; between the two nothing is decided.
  package let farMultiple: Double

  /// Limits on single rows and elements follow from the one on the whole: one bad row of a thousand
  /// must not hide.
  package init(relF: Double, farMultiple: Double = 1) {
    self.relF = relF
    worstRow = 10 * relF
    maxOverRMS = 100 * relF
    self.farMultiple = farMultiple
  }

  /// Twice what right runs were measured to differ by; far is eight times that.
  package init(noise: Double) { self.init(relF: 2 * noise, farMultiple: 4) }

  /// The same, but nowhere below twice what right runs differ by on the very inputs.
  func raised(to noise: Distance) -> DistanceLimit {
    DistanceLimit(
      relF: max(relF, 2 * noise.relF), worstRow: max(worstRow, 2 * noise.worstRow),
      maxOverRMS: max(maxOverRMS, 2 * (noise.maxOverRMS ?? 0)), farMultiple: farMultiple)
  }

  private init(relF: Double, worstRow: Double, maxOverRMS: Double, farMultiple: Double) {
    (self.relF, self.worstRow, self.maxOverRMS) = (relF, worstRow, maxOverRMS)
    self.farMultiple = farMultiple
  }

  /// A limit on the whole alone.
  init(wholeRelF: Double) {
    relF = wholeRelF
    (worstRow, maxOverRMS) = (.infinity, .infinity)
    farMultiple = 1
  }

  package func allows(_ distance: Distance, times multiple: Double = 1) -> Bool {
    distance.relF <= relF * multiple && distance.worstRow <= worstRow * multiple
      && distance.maxOverRMS ?? 0 <= maxOverRMS * multiple
  }

  func verdict(_ distance: Distance) -> Comparison.Verdict {
    if allows(distance) { return .close(distance) }
    return allows(distance, times: farMultiple) ? .undecided(distance) : .far(distance)
  }
}

/// The arithmetic that a runtime computes in, from the widest to the narrowest.
package enum Arithmetic: String, Sendable, CaseIterable {
  case float64, float32, tf32, float16, bfloat16

  package static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }

  /// The narrowest of some.
  static func narrowest(of some: [Arithmetic]) -> Arithmetic {
    some.max { allCases.firstIndex(of: $0)! < allCases.firstIndex(of: $1)! }!
  }

  /// What a tensor of a tap was computed in, as far as its file says it.
  init(of tensor: StoredTensor) { self = tensor.digest?.arithmetic ?? Arithmetic(storedAs: tensor.dtype) }

  /// The narrowest that values of a dtype can have been computed in.
  init(storedAs dtype: DType) {
    switch dtype {
    case .f64: self = .float64
    case .f32: self = .float32
    case .f16: self = .float16
    case .bf16: self = .bfloat16
    }
  }

  /// What it is stored in, where it is stored in full.
  var dtype: DType {
    switch self {
    case .float64: .f64
    case .float32, .tf32: .f32
    case .float16: .f16
    case .bfloat16: .bf16
    }
  }

  /// How far apart two right values may be of which no noise was measured: what is no tap.
  var limit: DistanceLimit {
    switch self {
    case .float64: DistanceLimit(relF: 1e-10)
    case .float32: DistanceLimit(relF: 3e-5)
    // TF32 rounds what it multiplies to as many bits as float16.
    case .tf32, .float16: DistanceLimit(relF: 1e-2)
    case .bfloat16: DistanceLimit(relF: 5e-2)
    }
  }
}

/// What a pass over two matrices, row after row, comes to.
struct DistanceSum {
  private var distance = Distance()
  private var (errors, squares, largest) = (0.0, 0.0, 0.0)
  private var (rowErrors, rowSquares) = (0.0, 0.0)
  private var (rows, values) = (0, 0)

  /// The next values of a row.
  ///
  /// - Returns: where exactly one of the two is finite, or both are infinite with other signs, or
  ///   NaN; nil if that is nowhere.
  mutating func add(_ found: Span<Double>, against expected: Span<Double>) -> Int? {
    precondition(found.count == expected.count, "two parts of one row")
    for n in expected.indices {
      let (a, e) = (found[n], expected[n])
      if !e.isFinite || !a.isFinite {
        // Equal infinities agree (masked scores are −∞); NaN equals nothing, itself included.
        if e == a { continue }
        return n
      }
      let error = a - e
      rowErrors += error * error
      rowSquares += e * e
      largest = max(largest, error.magnitude)
    }
    values += expected.count
    return nil
  }

  /// All rows of a matrix.
  ///
  /// - Returns: where the two are not finite alike, as above; nil if that is nowhere.
  mutating func add(_ found: Matrix<Double>, against expected: Matrix<Double>) -> (row: Int, column: Int)? {
    for row in 0..<found.rows {
      let range = row * found.columns..<(row + 1) * found.columns
      let (a, e) = (found.values.span.extracting(range), expected.values.span.extracting(range))
      if let column = add(a, against: e) { return (row, column) }
      endRow()
    }
    return nil
  }

  /// Ends a row.
  mutating func endRow() {
    let ratio = quotient(rowErrors.squareRoot(), rowSquares.squareRoot())
    // Infinite over infinite is NaN, which is larger than nothing and must not be lost.
    if ratio > distance.worstRow || ratio.isNaN {
      (distance.worstRow, distance.worstRowIndex) = (ratio, rows)
    }
    errors += rowErrors
    squares += rowSquares
    (rowErrors, rowSquares) = (0, 0)
    rows += 1
  }

  /// The distance of all rows so far.
  func finish() -> Distance {
    var distance = distance
    distance.relF = quotient(errors.squareRoot(), squares.squareRoot())
    // An error so small that its square is none.
    if largest > 0, errors == 0 { distance.relF = .infinity }
    distance.maxOverRMS = quotient(largest, (squares / Double(max(1, values))).squareRoot())
    return distance
  }
}

/// An error over a size; nothing over nothing is no error, something over nothing is infinite.
private func quotient(_ error: Double, _ size: Double) -> Double { error == 0 ? 0 : error / size }
