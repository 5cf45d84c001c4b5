import PixtralReference

/// Keeps every tap in memory, in double.
package final class MemoryRecorder: TraceRecorder {
  package private(set) var taps: [(name: String, matrix: Matrix<Double>)] = []
  package private(set) var prompt: PromptShape?
  private let onDemand: Bool

  /// - onDemand: whether to ask for attention scores and weights too.
  package init(onDemand: Bool = false) { self.onDemand = onDemand }

  package subscript(name: String) -> Matrix<Double>? { taps.first { $0.name == name }?.matrix }

  package func begin(_ prompt: PromptShape, taps: [PlannedTap]) { self.prompt = prompt }

  package func wants(_ name: String) -> Bool { onDemand }

  package func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) throws {
    taps.append(
      (name, Matrix<Double>(rows: value.rows, columns: value.columns, values: value.values.map(Double.init))))
  }
}

extension Matrix {
  package init(_ rows: [[Scalar]]) {
    self.init(rows: rows.count, columns: rows[0].count, values: rows.flatMap { $0 })
  }
}

/// `‖a − e‖ / ‖e‖`; infinite if there are more values of one.
package func relF(_ a: [Double], _ e: [Double]) -> Double {
  guard a.count == e.count else { return .infinity }
  var (error, size) = (0.0, 0.0)
  for (a, e) in zip(a, e) {
    error += (a - e) * (a - e)
    size += e * e
  }
  return error == 0 ? 0 : (error / size).squareRoot()
}
