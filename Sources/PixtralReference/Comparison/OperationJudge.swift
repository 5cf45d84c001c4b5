import PixtralImage
import PixtralStorage

extension Comparison {
  /// What computing each operation anew came to.
  package enum Anew: Sendable {
    /// The taps that are off by themselves, in the order of computation.
    case off([Tap])
    /// Nothing can be said, for this reason.
    case unknown(String)
  }

  /// Makes sure that a checkpoint is of the model that the two sides are of, before anything is computed
  /// with it.
  ///
  /// - Throws: `InputError` of kind `wrongParameters`.
  package func check(_ checkpoint: Checkpoint) throws {
    if let mismatch = mismatch(checkpoint) {
      throw InputError(
        .wrongParameters, "checkpoint \(checkpoint.name)", expected: "the model of \(reference.path)",
        found: mismatch, advice: "give the weights that the candidate has")
    }
  }

  /// Where a checkpoint is of another model than the two sides; nil if nothing shows that it is.
  private func mismatch(_ checkpoint: Checkpoint) -> String? {
    let parameters = checkpoint.parameters
    for given in [reference.run.parameters, candidate.run.parameters].compactMap(\.self) {
      if given != parameters { return "other parameters" }
    }
    // Of what is no trace of ours only the widths are known.
    let image = PromptShape(
      [], [(nil, PatchGrid(columns: 1, rows: 1))], patchSize: parameters.vision.patchSize)
    let planned = parameters.taps(images: image.images, tokens: 1, logitRows: 1)
    let columns = Dictionary(uniqueKeysWithValues: planned.map { ($0.name, $0) })
    for pair in pairs where TapPlace(pair.name) != nil && !pair.name.hasPrefix("image") {
      guard let tap = columns[pair.name] else { return "no tap \(pair.name)" }
      let isMatrix = TapView.withoutBatch(pair.expected.tensor.shape).count == 2
      if isMatrix && !tap.onDemand && tap.columns != pair.expected.columns {
        return "\(tap.columns) columns of \(pair.name) instead of \(pair.expected.columns)"
      }
    }
    return nil
  }

  /// Which taps are off by themselves: each operation is computed anew, in float64, from the
  /// candidate's own inputs to it. A mistake hands itself on, so that every tap behind it is far; here
  /// only the operations that have one show.
  ///
  /// The first operation, `vision.patch_conv`, is judged only if one of the two sides has the pixels.
  ///
  /// - checkpoint: the weights that the candidate has.
  /// - progress: told the name of each tap before it is computed.
  package func anew(_ checkpoint: Checkpoint, progress: @escaping (String) -> Void = { _ in }) throws -> Anew
  {
    if let mismatch = mismatch(checkpoint) {
      return .unknown("\(checkpoint.name) is another model: \(mismatch)")
    }
    guard !run.tokens.isEmpty else { return .unknown("neither side says of which tokens it is") }
    let patch = checkpoint.parameters.vision.patchSize
    let shape = PromptShape(run.tokens, run.grids.map { (nil, $0) }, patchSize: patch)
    let given = run.grids.indices.map { n in
      (candidate.tensors + reference.tensors).first { $0.name == "image\(n)" }
    }
    func prompt() -> Prompt? {
      guard (try? shape.check(against: checkpoint.parameters)) != nil else { return nil }
      let images = zip(run.grids, given).map { grid, tensor -> Pixels in
        let (height, width) = (grid.rows * patch, grid.columns * patch)
        let count = Pixels.channels * height * width
        var values = [Float](repeating: 0, count: count)
        if let tensor, TapView.withoutBatch(tensor.shape) == [Pixels.channels, height, width] {
          values = tensor.values(0..<count)
        }
        return Pixels(height: height, width: width, values: values)
      }
      let prompt = Prompt(tokens: run.tokens, pixels: images)
      return (try? prompt.check(against: checkpoint.parameters)) == nil ? nil : prompt
    }
    guard let prompt = prompt() else {
      return .unknown("the tokens and grids are none of a run of \(checkpoint.name)")
    }
    let judge = OperationJudge(
      self, checkpoint.parameters, knowsPixels: !given.contains { $0 == nil }, progress)
    do { _ = try Pixtral<Double>(checkpoint)(prompt, trace: Trace(judge)) } catch is TraceEnd {}
    let diverged = taps.filter { !$0.passed && !$0.isMissing }
    if judge.isOtherRun { return .unknown("the taps have other shapes than a run of these tokens has") }
    guard diverged.contains(where: { judge.judged.contains($0.name) }) else {
      return .unknown("no tap that diverges has values that can be judged so")
    }
    return .off(judge.off)
  }
}

/// Has a run go on with the candidate's value at every tap, after its own has been compared with it.
private final class OperationJudge: TraceRecorder {
  private let pairs: [String: TapPair]
  private let last: String?
  private let halfSplit: [RotaryPart: Int]
  /// q and k that the candidate has in the other order than all others of their part.
  private let inOtherOrder: Set<String>
  private let parameters: Parameters
  private let knowsPixels: Bool
  private let progress: (String) -> Void
  private(set) var off: [Comparison.Tap] = []
  private(set) var judged: Set<String> = []
  /// Whether a tap has another shape than the run gives it.
  private(set) var isOtherRun = false

  init(
    _ comparison: Comparison, _ parameters: Parameters, knowsPixels: Bool,
    _ progress: @escaping (String) -> Void
  ) {
    pairs = Dictionary(uniqueKeysWithValues: comparison.pairs.map { ($0.name, $0) })
    last = comparison.pairs.last { $0.found != nil && TapPlace($0.name) != nil }?.name
    halfSplit = comparison.halfSplit
    inOtherOrder = Set(comparison.taps.filter(\.isCloseInOtherOrder).map(\.name))
    (self.parameters, self.knowsPixels, self.progress) = (parameters, knowsPixels, progress)
  }

  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) {}

  func goingOn<Scalar: BLASScalar>(_ name: String, from value: Matrix<Scalar>) throws -> Matrix<Scalar> {
    progress(name)
    let next = judge(name, value)
    // What comes behind the last tap of the candidate says nothing of it.
    if name == last { throw TraceEnd() }
    return next
  }

  private func judge<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) -> Matrix<Scalar> {
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
    let part = RotaryPart(tap: name)
    if let part { found.headDim = halfSplit[part] }
    let candidate = Matrix<Double>(
      rows: found.rows, columns: found.columns, values: found.values(0..<found.rows))
    let expected = Matrix<Double>(
      rows: rows.count, columns: value.columns, values: rows.flatMap { value.row($0).map(Double.init) })
    // What is computed from values that are not finite says nothing.
    if !isUnknown, expected.values.allSatisfy(\.isFinite) {
      judged.insert(name)
      if let tap = pair.judged(candidate, against: expected) { off.append(tap) }
    }
    guard rows.count == value.rows else { return value }
    var goingOn = candidate.values
    if let part, inOtherOrder.contains(name) {
      // Off, but with the right numbers for what comes: it is its order alone.
      found.headDim = found.headDim == nil ? part.headDim(parameters) : nil
      goingOn = found.values(0..<found.rows)
    }
    return Matrix(rows: found.rows, columns: found.columns, values: goingOn.map { Scalar($0) })
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
