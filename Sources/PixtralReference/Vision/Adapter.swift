/// Features to the decoder's width: two linear layers with an exact GELU between. Model.md 6.1.
struct Adapter<Scalar: BLASScalar> {
  /// The adapter's tensors, by what follows `vision_language_adapter.` in their names: `w_in.weight`.
  let tensor: (String) -> StoredTensor
  /// Pixtral Large has no biases; Pixtral 12B has both.
  let hasBias: Bool

  /// (P, hidden_size) → (P, dim).
  func callAsFunction(_ features: Matrix<Scalar>, trace: Trace) throws -> Matrix<Scalar> {
    let inner = try trace(.adapterIn, linear(features, weight("w_in"), bias: bias("w_in")))  // (P, dim)
    let active = try trace(.adapterGelu, gelu(inner))  // (P, dim)
    return try trace(.adapterOut, linear(active, weight("w_out"), bias: bias("w_out")))  // (P, dim)
  }

  private func weight(_ name: String) -> StoredTensor { tensor("\(name).weight") }
  private func bias(_ name: String) -> StoredTensor? { hasBias ? tensor("\(name).bias") : nil }
}

extension Adapter {
  /// That of a checkpoint.
  init(_ checkpoint: Checkpoint) {
    self.init(
      tensor: { checkpoint.tensor("vision_language_adapter.\($0)") },
      hasBias: checkpoint.parameters.vision.adapterBias)
  }
}
