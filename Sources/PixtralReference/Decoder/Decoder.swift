/// Embeddings to logits: layers, norm, output head. Model.md 7.
struct Decoder<Scalar: Real> {
  let checkpoint: Checkpoint

  /// Rows of a prompt, or of the next part of one → logits.
  ///
  /// - x: (tokens of this part, dim).
  /// - cache: what the parts before have left; this part is added to it. nil to compute a whole prompt in one go.
  /// - logitRows: how many of the last positions get logits; nil for all.
  /// - Returns: (logitRows, vocab_size).
  func callAsFunction(
    _ x: Matrix<Scalar>, cache: KeyValueCache<Scalar>? = nil, logitRows: Int? = nil, trace: Trace
  ) throws -> Matrix<Scalar> {
    let parameters = checkpoint.parameters
    let first = cache?.count ?? 0
    let positions = first..<first + x.rows
    let rotation = Rotation<Scalar>(positions: positions, theta: parameters.ropeTheta, headDim: parameters.headDim)

    var x = x
    for n in 0..<parameters.layers {
      let layer = TransformerLayer<Scalar>(
        checkpoint: checkpoint, prefix: "layers.\(n)", heads: parameters.decoderHeads,
        normEpsilon: parameters.normEpsilon)
      x = try layer(
        x, rotation: rotation, segments: [0..<positions.upperBound], causal: true, cache: cache?.layers[n],
        trace: trace.layer("decoder.layers.\(n)"))
    }
    cache?.count = positions.upperBound

    let normed = try trace(
      .decoderNorm, rmsNorm(x, checkpoint.weight("norm.weight"), epsilon: parameters.normEpsilon))
    // The output head is a matrix of its own, never the token embeddings.
    let wanted = normed.lastRows(logitRows ?? normed.rows)
    return try trace(.logits, linear(wanted, checkpoint.weight("output.weight")))
  }
}

extension Rotation {
  /// The angles of tokens at consecutive positions. Model.md 7.3.
  init(positions: Range<Int>, theta: Double, headDim: Int) {
    let frequencies = rotaryFrequencies(theta: theta, headDim: headDim)
    self.init(angles: positions.map { position in frequencies.map { Double(position) * $0 } })
  }
}

extension Matrix {
  fileprivate func lastRows(_ count: Int) -> Matrix {
    count == rows
      ? self : Matrix(rows: count, columns: columns, values: Array(values.suffix(count * columns)))
  }
}
