/// How far a tensor is from another of the same shape, by norm and never element by element, summed in double.
public struct Distance: Sendable, Equatable {
  /// `‖a − e‖ / ‖e‖`.
  public var relF = 0.0
  /// The largest `‖a − e‖ / ‖e‖` of a row, and which row.
  public var worstRow = 0.0
  public var worstRowIndex = 0
  /// The largest `|a − e|` over the root mean square of e.
  public var maxOverRMS = 0.0
}

/// What a distance may be. Written so that NaN never passes.
public struct DistanceLimit: Sendable, Equatable {
  public let relF: Double
  public let worstRow: Double
  public let maxOverRMS: Double

  /// Limits on single rows and elements follow from the one on the whole: one bad row of a thousand must not hide.
  public init(relF: Double) {
    self.relF = relF
    worstRow = 10 * relF
    maxOverRMS = 100 * relF
  }

  /// The limit for the narrower of two dtypes. Docs/Trace.md says where the numbers come from.
  public init(for elements: Element...) {
    let narrow: [Element: Double] = [.bf16: 5e-2, .f16: 1e-2, .f32: 3e-5, .f64: 1e-10]
    self.init(relF: elements.map { narrow[$0]! }.max()!)
  }

  public func allows(_ distance: Distance) -> Bool {
    distance.relF <= relF && distance.worstRow <= worstRow && distance.maxOverRMS <= maxOverRMS
  }
}

/// Two traces, tap by tap.
public struct Comparison: Sendable {
  public enum Verdict: Sendable, Equatable {
    case close(Distance)
    case far(Distance)
    case otherShape(expected: [Int], found: [Int])
    /// The first position at which exactly one of the two is finite, or where both are infinite with other signs, or NaN.
    case nonFinite(row: Int, column: Int)
    case missing
  }

  public struct Tap: Sendable {
    public let name: String
    public let limit: DistanceLimit
    public let verdict: Verdict

    public var passed: Bool { if case .close = verdict { true } else { false } }
  }

  /// In the order of the reference's bytes, which is the order of computation.
  public let taps: [Tap]
  /// Taps that only the candidate has.
  public let extra: [String]

  public var firstDivergence: Tap? { taps.first { !$0.passed } }
  public var passed: Bool { firstDivergence == nil }

  /// - globs: shell patterns of the taps to compare; empty for all of the reference's.
  /// - limit: instead of the one that the dtypes imply.
  /// - Throws: `InputError` if nothing is left to compare.
  public init(reference: TraceFile, candidate: TraceFile, globs: [String] = [], limit: DistanceLimit? = nil) throws {
    let chosen = reference.taps.filter { tap in globs.isEmpty || globs.contains { matches($0, tap.name) } }
    guard !chosen.isEmpty else {
      throw InputError(
        .wrongTap, reference.path, expected: "taps to compare", found: "none that match \(globs.joined(separator: ","))")
    }
    let known = Set(reference.taps.map(\.name))
    extra = candidate.taps.map(\.name).filter { !known.contains($0) }
    taps = chosen.map { expected in
      guard let found = candidate.taps.first(where: { $0.name == expected.name }) else {
        return Tap(name: expected.name, limit: limit ?? DistanceLimit(for: expected.element), verdict: .missing)
      }
      let limit = limit ?? DistanceLimit(for: expected.element, found.element)
      return Tap(name: expected.name, limit: limit, verdict: judge(found, against: expected, limit))
    }
  }
}

/// A trace to compare: the tensors of a safetensors file.
public struct TraceFile: Sendable {
  public let path: String
  let taps: [Weight]

  /// - path: a trace folder, or a safetensors file of any runtime with taps as its tensors.
  public init(_ path: String) throws {
    let isFile = path.isEmpty || path.hasSuffix(".safetensors")
    let file = try Safetensors(isFile ? path : "\(path)/trace.safetensors")
    self.path = path
    taps = try file.tensors.map { tensor in
      guard !tensor.shape.isEmpty, !tensor.range.isEmpty else {
        throw InputError(
          .wrongTrace, "\(path), tensor \(tensor.name)", expected: "a matrix with at least one value", found: "\(tensor.shape)")
      }
      return Weight(
        name: tensor.name, element: tensor.element, shape: tensor.shape, source: .mapped(file.file, tensor.range))
    }
    guard !taps.isEmpty else {
      throw InputError(.wrongTrace, path, expected: "at least one tap", found: "none")
    }
  }
}

/// Shape first, then positions that are not finite, then the norm.
private func judge(_ found: Weight, against expected: Weight, _ limit: DistanceLimit) -> Comparison.Verdict {
  guard found.shape == expected.shape else { return .otherShape(expected: expected.shape, found: found.shape) }
  let (rows, columns) = (expected.rows, expected.columns)
  var distance = Distance()
  var (errors, squares, largest) = (0.0, 0.0, 0.0)
  var (e, a) = ([Double](repeating: 0, count: columns), [Double](repeating: 0, count: columns))
  for row in 0..<rows {
    e.withUnsafeMutableBufferPointer { expected.read(row..<row + 1, into: $0.baseAddress!) }
    a.withUnsafeMutableBufferPointer { found.read(row..<row + 1, into: $0.baseAddress!) }
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
