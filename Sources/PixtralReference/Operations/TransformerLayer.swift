/// What a layer is given beside its rows: where they are, and which of them may see each other.
struct View<Scalar: BLASScalar> {
  /// Turns q and k by the positions of the rows.
  let rotation: Rotation<Scalar>
  /// Ranges of positions; a row sees only its own.
  let segments: [Range<Int>]
  /// Whether a row sees only itself and those before it.
  let causal: Bool
}

/// One layer of the vision encoder or of the decoder. Model.md 3.6.
///
/// The two are the same layer. They differ in what they are given: the view, and the decoder's
/// cache.
struct TransformerLayer<Scalar: BLASScalar> {
  /// The layer's tensors, by what follows `layers.3.` in their names: `attention.wq.weight`.
  let tensor: (String) -> StoredTensor
  let heads: Heads
  let normEpsilon: Double

  /// x (n, width) → (n, width).
  func callAsFunction(
    _ x: Matrix<Scalar>, view: View<Scalar>, cache: KeyValueCache<Scalar>.Layer? = nil, trace: Trace.Layer
  ) throws -> Matrix<Scalar> {
    let residual = try trace(.residual, x + attend(x, view, cache, trace))  // (n, width)
    return try trace(.output, residual + feedForward(residual, trace))  // (n, width)
  }

  /// The attention branch: norm, projections, rotation, attention, output projection. No projection
  /// has a bias.
  private func attend(
    _ x: Matrix<Scalar>, _ view: View<Scalar>, _ cache: KeyValueCache<Scalar>.Layer?, _ trace: Trace.Layer
  ) throws -> Matrix<Scalar> {
    let normed = try trace(.attentionNorm, rmsNorm(x, weight("attention_norm"), epsilon: normEpsilon))
    let q = try trace(.q, linear(normed, weight("attention.wq")))  // (n, heads · d)
    let k = try trace(.k, linear(normed, weight("attention.wk")))  // (n, key-value heads · d)
    let v = try trace(.v, linear(normed, weight("attention.wv")))  // (n, key-value heads · d)
    let qRotated = try trace(.qRotated, view.rotation(q))
    let kRotated = try trace(.kRotated, view.rotation(k))

    let (keys, values) = cache?.append(kRotated, v) ?? (kRotated, v)  // (m, key-value heads · d), m ≥ n
    try trace.maps(of: qRotated, keys, heads: heads, view)
    let context = try trace(
      .context, attention(qRotated, keys, values, heads: heads, segments: view.segments, causal: view.causal))
    return try trace(.attentionOutput, linear(context, weight("attention.wo")))
  }

  /// The feed-forward branch: norm, then SwiGLU. w1 is the gate, w3 is up, w2 is down. Model.md
  /// 3.4.
  private func feedForward(_ x: Matrix<Scalar>, _ trace: Trace.Layer) throws -> Matrix<Scalar> {
    let normed = try trace(.ffnNorm, rmsNorm(x, weight("ffn_norm"), epsilon: normEpsilon))
    let gate = try trace(.gate, linear(normed, weight("feed_forward.w1")))  // (n, hidden)
    let up = try trace(.up, linear(normed, weight("feed_forward.w3")))  // (n, hidden)
    let hidden = try trace(.hidden, siluProduct(gate: gate, up: up))  // (n, hidden)
    return try trace(.feedForwardOutput, linear(hidden, weight("feed_forward.w2")))
  }

  private func weight(_ name: String) -> StoredTensor { tensor("\(name).weight") }
}
