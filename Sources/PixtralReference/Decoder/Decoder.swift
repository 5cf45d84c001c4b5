/// Embeddings to logits: layers, norm, output head. Model.md 7.
struct Decoder<Scalar: BLASScalar> {
  let checkpoint: Checkpoint

  /// The rows of a prompt, or of the next part of one, to logits.
  ///
  /// - x: (tokens of this part, dim).
  /// - cache: what the parts before have left; this part is added to it. nil to compute a whole
  ///   prompt in one go.
  /// - logitRows: how many of the last positions get logits; nil for all.
  /// - Returns: (logitRows, vocab_size).
  func callAsFunction(
    _ x: Matrix<Scalar>, cache: KeyValueCache<Scalar>? = nil, logitRows: Int? = nil, trace: Trace
  ) throws -> Matrix<Scalar> {
    let parameters = checkpoint.parameters
    let first = cache?.count ?? 0
    let positions = first..<first + x.rows
    // A token sees itself and those before it; image tokens are tokens like any other.
    let view = View<Scalar>(
      rotation: Rotation(positions: positions, theta: parameters.ropeTheta, headDim: parameters.headDim),
      segments: [0..<positions.upperBound], causal: true)

    var x = x
    for n in 0..<parameters.layers {
      let layer = TransformerLayer<Scalar>(
        checkpoint: checkpoint, prefix: "layers.\(n)", heads: parameters.decoderHeads,
        normEpsilon: parameters.normEpsilon)
      x = try layer(x, view: view, cache: cache?.layers[n], trace: trace.layer("decoder.layers.\(n)"))
    }
    cache?.count = positions.upperBound

    let normed = try trace(
      .decoderNorm, rmsNorm(x, checkpoint.tensor("norm.weight"), epsilon: parameters.normEpsilon))
    // The output head is a matrix of its own, never the token embeddings (D-tied).
    let wanted = normed.rows(normed.rows - (logitRows ?? normed.rows)..<normed.rows)
    return try trace(.logits, linear(wanted, checkpoint.tensor("output.weight")))
  }
}
