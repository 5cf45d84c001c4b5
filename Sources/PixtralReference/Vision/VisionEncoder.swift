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

    let view = View<Scalar>(grids: grids, theta: vision.ropeTheta, headDim: vision.headDim)
    for n in 0..<vision.layers {
      let layer = TransformerLayer<Scalar>(
        tensor: { tensor("transformer.layers.\(n).\($0)") }, heads: checkpoint.parameters.visionHeads,
        normEpsilon: vision.normEpsilon)
      x = try layer(x, view: view, trace: trace.layer("vision.layers.\(n)"))
    }
    return x
  }

  private func tensor(_ name: String) -> StoredTensor { checkpoint.tensor("vision_encoder.\(name)") }
}

extension View {
  /// Patches of images, whose rows follow one another.
  ///
  /// The mask between images: each image is a segment, whose patches see one another and no others.
  /// Mistral's own code drops it (V-no-mask).
  init(grids: [PatchGrid], theta: Double, headDim: Int) {
    self.init(
      rotation: Rotation(grids: grids, theta: theta, headDim: headDim),
      segments: PixtralReference.segments(of: grids.map(\.patches)), causal: false)
  }
}
