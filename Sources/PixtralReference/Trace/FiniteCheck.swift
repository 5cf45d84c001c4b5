import PixtralImage
import PixtralStorage

/// Looks for the first value of a run that is not finite, and hands everything on to another
/// recorder.
package final class FiniteCheck: TraceRecorder {
  /// A value that is not finite: infinite or NaN.
  package struct Finding: Sendable, Equatable {
    /// The tap that has it first, in the order of computation.
    package let tap: String
    package let row: Int
    package let column: Int
    package let value: Double
    /// The weight that it comes from, if a weight of that operation has such a value.
    package let weight: Weight?
  }

  /// A value of a weight that is not finite in the precision of the run.
  package struct Weight: Sendable, Equatable {
    package let name: String
    package let index: [Int]
    /// As stored, which float64 holds always.
    package let value: Double
  }

  package private(set) var finding: Finding?
  private let recorder: any TraceRecorder
  private let checkpoint: Checkpoint
  private var tokens: [Int] = []
  /// How many tensors the operations before this one have used.
  private var used = 0

  package init(_ recorder: any TraceRecorder, _ checkpoint: Checkpoint) {
    self.recorder = recorder
    self.checkpoint = checkpoint
  }

  package func begin(_ prompt: PromptShape, taps: [PlannedTap]) throws {
    tokens = prompt.tokens
    try recorder.begin(prompt, taps: taps)
  }

  package func wants(_ name: String) -> Bool { recorder.wants(name) }

  package func replacement<Scalar: BLASScalar>(
    of name: String, _ value: Matrix<Scalar>
  ) throws -> Matrix<Scalar>? {
    try recorder.replacement(of: name, value)
  }

  package func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) throws {
    if finding == nil {
      let names = checkpoint.usedTensors
      if let at = firstNotFinite(value.values, in: name) {
        let (row, column) = (at / value.columns, at % value.columns)
        finding = Finding(
          tap: name, row: row, column: column, value: Double(value.values[at]),
          weight: name == ModelTap.embeddings.rawValue
            ? embedding(row, column)
            : names[used...].lazy.compactMap { self.weight($0, Scalar.self) }.first)
      }
      used = names.count
    }
    try recorder.record(name, value)
  }

  package func record(_ pixels: Pixels, ofImage n: Int) throws { try recorder.record(pixels, ofImage: n) }

  private func embedding(_ row: Int, _ column: Int) -> Weight? {
    let table = checkpoint.tensor("tok_embeddings.weight")
    let value: Matrix<Double> = table.rows(tokens[row]..<tokens[row] + 1)
    return Weight(name: table.name, index: [tokens[row], column], value: value[0, column])
  }

  /// The first value of a tensor that is not finite in a precision.
  private func weight<Scalar: BLASScalar>(_ name: String, _: Scalar.Type) -> Weight? {
    let tensor = checkpoint.tensor(name)
    let step = 1 + (1 << 20) / max(1, tensor.columns)
    for start in stride(from: 0, to: tensor.rows, by: step) {
      let rows = start..<min(start + step, tensor.rows)
      let block: Matrix<Scalar> = tensor.rows(rows)
      guard let at = firstNotFinite(block.values) else { continue }
      let stored: Matrix<Double> = tensor.rows(rows)
      var (index, rest) = ([Int](), start * tensor.columns + at)
      for size in tensor.shape.reversed() {
        index.insert(rest % size, at: 0)
        rest /= size
      }
      return Weight(name: name, index: index, value: stored.values[at])
    }
    return nil
  }
}

extension FiniteCheck.Finding {
  /// What a user is told.
  package var sentence: String {
    let cause = weight.map { "; the weight \($0.name) has \(numberText($0.value)) at \($0.index)" } ?? ""
    return "not finite first at \(tap), row \(row), column \(column): \(numberText(value))\(cause)"
  }
}

// A recorder is called without its caller knowing its type, so that nothing else would specialise this.
@specialized(where Scalar == Float)
@specialized(where Scalar == Double)
private func firstNotFinite<Scalar: BLASScalar>(_ values: [Scalar], in tap: String = "") -> Int? {
  // A score is −∞ where a query may not see a key.
  let isMasked = tap.hasSuffix(".\(LayerTap.scores.rawValue)")
  return values.firstIndex { !$0.isFinite && !(isMasked && $0 == -.infinity) }
}
