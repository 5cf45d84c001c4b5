/// Features to the decoder's width: two linear layers with an exact GELU between. Model.md 6.1.
struct Adapter<Scalar: BLASScalar> {
  let checkpoint: Checkpoint

  /// (P, hidden_size) → (P, dim). Pixtral Large has no biases; Pixtral 12B has both.
  func callAsFunction(_ features: Matrix<Scalar>, trace: Trace) throws -> Matrix<Scalar> {
    let inner = try trace(.adapterIn, linear(features, weight("w_in"), bias: bias("w_in")))  // (P, dim)
    let active = try trace(.adapterGelu, gelu(inner))  // (P, dim)
    return try trace(.adapterOut, linear(active, weight("w_out"), bias: bias("w_out")))  // (P, dim)
  }

  private func weight(_ name: String) -> StoredTensor {
    checkpoint.tensor("vision_language_adapter.\(name).weight")
  }

  private func bias(_ name: String) -> StoredTensor? {
    checkpoint.parameters.vision.adapterBias ? checkpoint.tensor("vision_language_adapter.\(name).bias") : nil
  }
}
