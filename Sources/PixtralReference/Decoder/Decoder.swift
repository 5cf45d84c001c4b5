/// Embeddings to logits: layers, norm, output head. Model.md 7.
struct Decoder<Scalar: BLASScalar> {
  let checkpoint: Checkpoint

  /// The rows of prompts, or of the next part of one, to logits.
  ///
  /// - x: (tokens of all prompts, dim).
  /// - prompts: how many rows are each prompt's.
  /// - cache: what the parts before have left; this part is added to it. nil to compute whole prompts
  ///   in one go.
  /// - logitRows: how many of the last positions of each get logits; nil for all.
  /// - Returns: (logitRows of each, vocab_size).
  func callAsFunction(
    _ x: Matrix<Scalar>, prompts: [Int], cache: KeyValueCache<Scalar>? = nil, logitRows: Int? = nil,
    trace: Trace
  ) throws -> Matrix<Scalar> {
    precondition(cache == nil || prompts.count == 1, "a cache of one prompt")
    let parameters = checkpoint.parameters
    let trace = trace.dividing(rows: prompts)
    let seen = cache?.count ?? 0
    let view = View<Scalar>(
      prompts: prompts, behind: seen, theta: parameters.ropeTheta, headDim: parameters.headDim)

    var x = x
    for n in 0..<parameters.layers {
      let layer = TransformerLayer<Scalar>(
        tensor: { checkpoint.tensor("layers.\(n).\($0)") }, heads: parameters.decoderHeads,
        normEpsilon: parameters.normEpsilon)
      x = try layer(x, view: view, cache: cache?.layers[n], trace: trace.layer("decoder.layers.\(n)"))
    }
    cache?.count += x.rows

    let normed = try trace(
      .decoderNorm, rmsNorm(x, checkpoint.tensor("norm.weight"), epsilon: parameters.normEpsilon))
    // The output head is a matrix of its own, never the token embeddings (D-tied).
    let rows = prompts.map { logitRows ?? $0 }
    let wanted = Matrix(
      joining: zip(segments(of: prompts), rows).map { normed.rows($0.upperBound - $1..<$0.upperBound) })
    return try trace.dividing(rows: rows)(.logits, linear(wanted, checkpoint.tensor("output.weight")))
  }
}

extension View {
  /// Tokens of prompts, whose rows follow one another. A token sees itself and those of its prompt before
  /// it; image tokens are tokens like any other.
  ///
  /// - seen: how many tokens of each came before these.
  init(prompts: [Int], behind seen: Int, theta: Double, headDim: Int) {
    self.init(
      rotation: Rotation(
        positions: prompts.flatMap { seen..<seen + $0 }, theta: theta, headDim: headDim),
      segments: PixtralReference.segments(of: prompts.map { seen + $0 }), causal: true)
  }
}
