import PixtralImage
import PixtralStorage

extension Comparison {
  /// The taps that are off by themselves: each operation is computed anew, in float64, from the
  /// candidate's own inputs to it. A mistake hands itself on, so that every tap behind it is far; here
  /// only the operations that have one show.
  ///
  /// - checkpoint: the weights that the candidate has.
  /// - Returns: the taps in the order of computation; nil if the run's tokens and grids are not known, or
  ///   are none of a run of these weights. The first operation, `vision.patch_conv`, is judged only if one
  ///   of the two sides has the pixels.
  package func offByThemselves(_ checkpoint: Checkpoint) throws -> [Tap]? {
    let vision = checkpoint.parameters.vision
    let shape = PromptShape(run.tokens, run.grids.map { (nil, $0) }, patchSize: vision.patchSize)
    guard (try? shape.check(against: checkpoint.parameters)) != nil else { return nil }
    let given = run.grids.indices.map { n in
      (candidate.tensors + reference.tensors).first { $0.name == "image\(n)" }
    }
    let images = zip(run.grids, given).map { grid, tensor -> Pixels in
      let (height, width) = (grid.rows * vision.patchSize, grid.columns * vision.patchSize)
      let count = Pixels.channels * height * width
      var values = [Float](repeating: 0, count: count)
      if let tensor, TapView.withoutBatch(tensor.shape) == [Pixels.channels, height, width] {
        values = tensor.values(0..<count)
      }
      return Pixels(height: height, width: width, values: values)
    }
    let prompt = Prompt(tokens: run.tokens, pixels: images)
    guard (try? prompt.check(against: checkpoint.parameters)) != nil else { return nil }
    let judge = OperationJudge(pairs, halfSplit, knowsPixels: !given.contains { $0 == nil })
    _ = try Pixtral<Double>(checkpoint)(prompt, trace: Trace(judge))
    return judge.isOtherRun ? nil : judge.off
  }
}

/// Has a run go on with the candidate's value at every tap, after its own has been compared with it.
private final class OperationJudge: TraceRecorder {
  private let pairs: [String: TapPair]
  private let halfSplit: [RotaryPart: Int]
  private let knowsPixels: Bool
  private(set) var off: [Comparison.Tap] = []
  /// Whether a tap has another shape than the run gives it.
  private(set) var isOtherRun = false

  init(_ pairs: [TapPair], _ halfSplit: [RotaryPart: Int], knowsPixels: Bool) {
    self.pairs = Dictionary(uniqueKeysWithValues: pairs.map { ($0.name, $0) })
    self.halfSplit = halfSplit
    self.knowsPixels = knowsPixels
  }

  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) {}

  func goingOn<Scalar: BLASScalar>(_ name: String, from value: Matrix<Scalar>) -> Matrix<Scalar> {
    let isUnknown = name == ModelTap.patchConv.rawValue && !knowsPixels
    guard let pair = pairs[name], var found = pair.found else {
      return isUnknown ? Matrix(repeating: .nan, rows: value.rows, columns: value.columns) : value
    }
    // Of logits the candidate may have some rows only; nothing goes on with them.
    let rows = pair.kept ?? Array(max(0, value.rows - found.rows)..<value.rows)
    guard rows.count == found.rows, rows.allSatisfy({ $0 < value.rows }), found.columns == value.columns
    else {
      isOtherRun = true
      return value
    }
    if let part = RotaryPart(tap: name) { found.headDim = halfSplit[part] }
    let candidate = Matrix<Double>(
      rows: found.rows, columns: found.columns, values: found.values(0..<found.rows))
    let expected = Matrix<Double>(
      rows: rows.count, columns: value.columns, values: rows.flatMap { value.row($0).map(Double.init) })
    // What is computed from values that are not finite says nothing.
    if !isUnknown, expected.values.allSatisfy(\.isFinite), let tap = pair.judged(candidate, against: expected)
    {
      off.append(tap)
    }
    guard rows.count == value.rows else { return value }
    return Matrix(rows: found.rows, columns: found.columns, values: candidate.values.map { Scalar($0) })
  }
}

extension TapPair {
  /// The verdict on a value against one that was computed from its own inputs; nil if they are close.
  fileprivate func judged(_ found: Matrix<Double>, against expected: Matrix<Double>) -> Comparison.Tap? {
    var sum = DistanceSum()
    for row in 0..<found.rows {
      let range = row * found.columns..<(row + 1) * found.columns
      let (a, e) = (found.values.span.extracting(range), expected.values.span.extracting(range))
      if let column = sum.add(a, against: e) {
        return Comparison.Tap(name: name, limit: limit, verdict: .nonFinite(row: row, column: column))
      }
      sum.endRow()
    }
    let distance = sum.finish()
    return limit.allows(distance) ? nil : Comparison.Tap(name: name, limit: limit, verdict: .far(distance))
  }
}
