/// One layer of the vision encoder or of the decoder. Model.md 3.6.
///
/// The two are the same layer. They differ in what `callAsFunction` is given: the rotation, who may see whom, and a cache.
struct TransformerLayer<Scalar: Real> {
  let checkpoint: Checkpoint
  /// Where the layer's tensors are: `layers.3` or `vision_encoder.transformer.layers.3`.
  let prefix: String
  let heads: Heads
  let normEpsilon: Double

  /// x (n, width) → (n, width).
  func callAsFunction(
    _ x: Matrix<Scalar>, rotation: Rotation<Scalar>, segments: [Range<Int>], causal: Bool,
    cache: KeyValueCache<Scalar>.Layer? = nil, trace: Trace.Layer
  ) throws -> Matrix<Scalar> {
    let residual = try trace(.residual, x + attend(x, rotation, segments, causal, cache, trace))  // (n, width)
    return try trace(.output, residual + feedForward(residual, trace))  // (n, width)
  }

  /// The attention branch: norm, projections, rotation, attention, output projection. No projection has a bias.
  private func attend(
    _ x: Matrix<Scalar>, _ rotation: Rotation<Scalar>, _ segments: [Range<Int>], _ causal: Bool,
    _ cache: KeyValueCache<Scalar>.Layer?, _ trace: Trace.Layer
  ) throws -> Matrix<Scalar> {
    let normed = try trace(.attentionNorm, rmsNorm(x, weight("attention_norm"), epsilon: normEpsilon))
    let q = try trace(.q, linear(normed, weight("attention.wq")))  // (n, heads · d)
    let k = try trace(.k, linear(normed, weight("attention.wk")))  // (n, key-value heads · d)
    let v = try trace(.v, linear(normed, weight("attention.wv")))  // (n, key-value heads · d)
    let qRotated = try trace(.qRotated, rotation(q))
    let kRotated = try trace(.kRotated, rotation(k))

    let (keys, values) = cache?.append(kRotated, v) ?? (kRotated, v)  // (m, key-value heads · d), m ≥ n
    var maps =
      trace.wants(.scores) || trace.wants(.weights)
      ? AttentionMaps<Scalar>(queries: x.rows, keys: keys.rows, heads: heads) : nil
    let context = attention(
      qRotated, keys, values, heads: heads, segments: segments, causal: causal, maps: &maps)
    if let maps {
      _ = try trace(.scores, maps.scores)  // (n, heads · m)
      _ = try trace(.weights, maps.weights)  // (n, heads · m)
    }
    return try trace(.attentionOutput, linear(trace(.context, context), weight("attention.wo")))
  }

  /// The feed-forward branch: norm, then SwiGLU. w1 is the gate, w3 is up, w2 is down. Model.md 3.4.
  private func feedForward(_ x: Matrix<Scalar>, _ trace: Trace.Layer) throws -> Matrix<Scalar> {
    let normed = try trace(.ffnNorm, rmsNorm(x, weight("ffn_norm"), epsilon: normEpsilon))
    let gate = try trace(.gate, linear(normed, weight("feed_forward.w1")))  // (n, hidden)
    let up = try trace(.up, linear(normed, weight("feed_forward.w3")))  // (n, hidden)
    let hidden = try trace(.hidden, siluProduct(gate: gate, up: up))  // (n, hidden)
    return try trace(.feedForwardOutput, linear(hidden, weight("feed_forward.w2")))
  }

  private func weight(_ name: String) -> Weight { checkpoint.weight("\(prefix).\(name).weight") }
}
