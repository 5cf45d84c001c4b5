import PixtralImage
import PixtralStorage

extension Comparison {
  /// What computing each operation anew came to.
  package enum Anew: Sendable {
    /// The taps that are off by themselves, in the order of computation; and those that are off, or a
    /// tap between them and the candidate's last ones that the candidate lacks.
    case off([Tap], between: [(tap: Tap, lacking: [String])])
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
  /// Inputs are all taps that the candidate has, compared or not, and the pixels of either side.
  ///
  /// - checkpoint: the weights that the candidate has.
  /// - progress: told the name of each tap before it is computed.
  package func anew(_ checkpoint: Checkpoint, progress: @escaping (String) -> Void = { _ in }) throws -> Anew
  {
    if let mismatch = mismatch(checkpoint) {
      return .unknown("\(checkpoint.name) is another model: \(mismatch)")
    }
    guard candidate.tensors.contains(where: { $0.digest == nil && !TapPlace.isPixels($0.name) }) else {
      return .unknown("the candidate is a digest, which has no values to compute with")
    }
    guard !run.tokens.isEmpty else { return .unknown("neither side says of which tokens it is") }
    let parameters = checkpoint.parameters
    let shape = PromptShape(run.tokens, run.grids.map { (nil, $0) }, patchSize: parameters.vision.patchSize)
    guard (try? shape.check(against: parameters)) != nil else {
      return .unknown("the tokens and grids are none of a run of \(checkpoint.name)")
    }
    for pair in pairs where pair.kept == nil && pair.name != ModelTap.logits.rawValue {
      if let rows = run.rows(of: pair.name), rows != pair.expected.rows {
        return .unknown("\(pair.name) has \(pair.expected.rows) rows, a run of these tokens \(rows)")
      }
    }
    let taps = parameters.taps(images: shape.images, tokens: run.tokens.count, logitRows: run.tokens.count)
    do { try RunMemory(dtype: .f64).add(taps.filter { !$0.onDemand }, for: shape) } catch {
      return .unknown("\(error)")
    }
    let pixels = try pixels(patchSize: parameters.vision.patchSize)
    let prompt = Prompt(tokens: run.tokens, pixels: pixels.images)
    guard (try? prompt.check(against: parameters)) != nil else {
      return .unknown("the pixels are none of a run of \(checkpoint.name)")
    }
    let judge = OperationJudge(self, parameters, knowsPixels: pixels.areKnown, progress)
    do { _ = try Pixtral<Double>(checkpoint)(prompt, trace: Trace(judge)) } catch is TraceEnd {}
    try checkpoint.checkWhole()
    try checkWhole()
    let diverged = self.taps.filter(\.diverges)
    guard diverged.contains(where: { judge.judged.contains($0.name) }) else {
      return .unknown("no tap that diverges has values that can be judged so")
    }
    return .off(judge.off, between: judge.between)
  }

  /// The pixels of the run's images, as far as a side has them; zeros for the others.
  private func pixels(patchSize: Int) throws -> (images: [Pixels], areKnown: Bool) {
    var areKnown = true
    let images = run.grids.enumerated().map { n, grid -> Pixels in
      let (height, width) = (grid.rows * patchSize, grid.columns * patchSize)
      let count = Pixels.channels * height * width
      let given = (candidate.tensors + reference.tensors).first {
        $0.name == "image\(n)" && TapView.withoutBatch($0.shape) == [Pixels.channels, height, width]
      }
      areKnown = areKnown && given != nil
      return Pixels(
        height: height, width: width,
        values: given?.values(0..<count) ?? [Float](repeating: 0, count: count))
    }
    return (images, areKnown)
  }
}

/// Has a run go on with the candidate's value at every tap, after its own has been compared with it.
private final class OperationJudge: TraceRecorder {
  private let pairs: [String: TapPair]
  private let candidates: [String: StoredTensor]
  private let last: String?
  private let halfSplit: [RotaryPart: HalfSplit]
  /// q and k that the candidate has in the other order than all others of their part.
  private let inOtherOrder: Set<String>
  private let parameters: Parameters
  private let grids: [PatchGrid]
  private let knowsPixels: Bool
  private let progress: (String) -> Void
  /// Of a tap that the candidate lacks: itself, and what of its inputs is lacking too.
  private var lacking: [String: [String]] = [:]
  /// What attention is computed from, of the layer that is computed.
  private var attentionInputs: [LayerTap: Matrix<Double>] = [:]
  private(set) var off: [Comparison.Tap] = []
  private(set) var between: [(tap: Comparison.Tap, lacking: [String])] = []
  private(set) var judged: Set<String> = []

  init(
    _ comparison: Comparison, _ parameters: Parameters, knowsPixels: Bool,
    _ progress: @escaping (String) -> Void
  ) {
    pairs = Dictionary(uniqueKeysWithValues: comparison.pairs.map { ($0.name, $0) })
    candidates = Dictionary(
      comparison.candidate.tensors.filter { $0.digest == nil }.map { ($0.name, $0) },
      uniquingKeysWith: { first, _ in first })
    last = comparison.pairs.last { $0.found != nil && TapPlace($0.name) != nil }?.name
    halfSplit = comparison.halfSplit
    inOtherOrder = Set(comparison.taps.filter(\.isCloseInOtherOrder).map(\.name))
    grids = comparison.run.grids
    (self.parameters, self.knowsPixels, self.progress) = (parameters, knowsPixels, progress)
  }

  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) {}

  func replacement<Scalar: BLASScalar>(of name: String, _ value: Matrix<Scalar>) throws -> Matrix<Scalar>? {
    progress(name)
    let next = judge(name, value)
    if let tap = LayerTapName(name)?.tap, [.qRotated, .kRotated, .v].contains(tap) {
      attentionInputs[tap] = Matrix(
        rows: next.rows, columns: next.columns, values: next.values.map { Double($0) })
    }
    // What comes behind the last tap of the candidate says nothing of it.
    if name == last { throw TraceEnd() }
    return next
  }

  private func judge<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) -> Matrix<Scalar> {
    let isUnknown = name == ModelTap.patchConv.rawValue && !knowsPixels
    var missing: [String] = []
    for input in parameters.inputs(of: name, hasImages: !grids.isEmpty) {
      missing += (lacking[input] ?? []).filter { !missing.contains($0) }
    }
    guard var found = found(name, like: value) else {
      lacking[name] = missing + [name]
      return isUnknown ? Matrix(repeating: .nan, rows: value.rows, columns: value.columns) : value
    }
    let part = RotaryPart(tap: name)
    if let part, let order = halfSplit[part], order.side == .candidate { found.headDim = order.headDim }
    let candidate = Matrix<Double>(
      rows: found.rows, columns: found.columns, values: found.values(0..<found.rows))
    if !isUnknown, let pair = pairs[name] {
      // Of logits the candidate may have some rows only; nothing goes on with them.
      let rows = found.rows == value.rows ? Array(0..<value.rows) : pair.kept ?? [value.rows - 1]
      let expected = Matrix<Double>(
        rows: rows.count, columns: value.columns, values: rows.flatMap { value.row($0).map(Double.init) })
      // What is computed from values that are not finite says nothing.
      if expected.values.allSatisfy(\.isFinite) {
        judged.insert(name)
        if pair.judged(candidate, against: expected, pair.limit) != nil,
          let tap = pair.judged(candidate, against: expected, limit(of: pair, expected))
        {
          if missing.isEmpty { off.append(tap) } else { between.append((tap, missing)) }
        }
      }
    }
    guard found.rows == value.rows else { return value }
    var goingOn = candidate.values
    if let part, inOtherOrder.contains(name) {
      // Off, but with the right numbers for what comes: it is its order alone.
      found.headDim = found.headDim == nil ? part.headDim(parameters) : nil
      goingOn = found.values(0..<found.rows)
    }
    return Matrix(rows: found.rows, columns: found.columns, values: goingOn.map { Scalar($0) })
  }

  /// The limit of a tap, given what it is computed from.
  private func limit(of pair: TapPair, _ expected: Matrix<Double>) -> DistanceLimit {
    guard let name = LayerTapName(pair.name), name.tap == .context, pair.limitSource != .option,
      let q = attentionInputs[.qRotated], let k = attentionInputs[.kRotated], let v = attentionInputs[.v]
    else { return pair.limit }
    let isVision = name.part == RotaryPart.vision.rawValue
    let noise = AttentionNoise(
      heads: isVision ? parameters.visionHeads : parameters.decoderHeads,
      segments: segments(of: isVision ? grids.map(\.patches) : [q.rows]), causal: !isVision)
    return pair.limit.raised(to: noise(q, k, v, expected, in: pair.arithmetic))
  }

  /// The candidate's tap as a matrix like that of the run; nil if it has none of that shape.
  private func found<Scalar>(_ name: String, like value: Matrix<Scalar>) -> TapView? {
    let isLogits = name == ModelTap.logits.rawValue
    // Of a case that keeps some rows the candidate is still computed anew whole.
    if let pair = pairs[name], pair.kept == nil || isLogits {
      guard let found = pair.found, found.columns == value.columns, found.tensor.digest == nil else {
        return nil
      }
      return found.rows == value.rows || isLogits && found.rows < value.rows ? found : nil
    }
    guard let tensor = candidates[name] else { return nil }
    return TapView.readings(
      of: tensor, like: [value.rows, value.columns], kept: nil, total: nil, heads: parameters.heads(of: name)
    ).first
  }
}

extension TapPair {
  /// The verdict on a value against one that was computed from its own inputs; nil if they are close.
  fileprivate func judged(
    _ found: Matrix<Double>, against expected: Matrix<Double>, _ limit: DistanceLimit
  ) -> Comparison.Tap? {
    var sum = DistanceSum()
    if let (row, column) = sum.add(found, against: expected) {
      return Comparison.Tap(name: name, limit: limit, verdict: .nonFinite(row: row, column: column))
    }
    let distance = sum.finish()
    return limit.allows(distance) ? nil : Comparison.Tap(name: name, limit: limit, verdict: .far(distance))
  }
}
