import PixtralImage

/// Patches to features: patch embedding, norm, layers; no norm at the end. Model.md 5.
struct VisionEncoder<Scalar: BLASScalar> {
  let checkpoint: Checkpoint

  /// The patches of all images → (patches of all images, hidden_size).
  ///
  /// - patches: (P, C · p · p).
  /// - grids: of each image; their patches follow one another.
  func callAsFunction(_ patches: Matrix<Scalar>, grids: [PatchGrid], trace: Trace) throws -> Matrix<Scalar> {
    let vision = checkpoint.parameters.vision
    let embedded = try trace(.patchConv, linear(patches, tensor("patch_conv.weight")))  // (P, hidden_size)
    var x = try trace(.lnPre, rmsNorm(embedded, tensor("ln_pre.weight"), epsilon: vision.normEpsilon))

    // The mask between images: each image is a segment, whose patches see one another and no others.
    // Mistral's own code drops it (V-no-mask).
    let view = View<Scalar>(
      rotation: Rotation(grids: grids, theta: vision.ropeTheta, headDim: vision.headDim),
      segments: segments(of: grids.map(\.patches)), causal: false)
    for n in 0..<vision.layers {
      let layer = TransformerLayer<Scalar>(
        checkpoint: checkpoint, prefix: "vision_encoder.transformer.layers.\(n)",
        heads: checkpoint.parameters.visionHeads, normEpsilon: vision.normEpsilon)
      x = try layer(x, view: view, trace: trace.layer("vision.layers.\(n)"))
    }
    return x
  }

  private func tensor(_ name: String) -> StoredTensor { checkpoint.tensor("vision_encoder.\(name)") }
}
