/// Pixels to features: patch embedding, norm, layers; no norm at the end. Model.md 5.
struct VisionEncoder<Scalar: Real> {
  let checkpoint: Checkpoint

  /// All images of a request → (patches of all images, hidden_size).
  func callAsFunction(_ images: [Pixels], trace: Trace) throws -> Matrix<Scalar> {
    let vision = checkpoint.parameters.vision
    let grids = images.map { $0.grid(patchSize: vision.patchSize) }

    let patches: Matrix<Scalar> = patches(of: images, patchSize: vision.patchSize)  // (P, C · p · p)
    let embedded = try trace(.patchConv, linear(patches, checkpoint.weight("vision_encoder.patch_conv.weight")))
    var x = try trace(
      .lnPre, rmsNorm(embedded, checkpoint.weight("vision_encoder.ln_pre.weight"), epsilon: vision.normEpsilon))

    // A patch sees all patches of its own image and no others. Mistral's own code drops this mask (V-no-mask).
    let rotation = Rotation<Scalar>(grids: grids, theta: vision.ropeTheta, headDim: vision.headDim)
    let segments = segments(of: grids.map(\.patches))
    for n in 0..<vision.layers {
      let layer = TransformerLayer<Scalar>(
        checkpoint: checkpoint, prefix: "vision_encoder.transformer.layers.\(n)",
        heads: checkpoint.parameters.visionHeads, normEpsilon: vision.normEpsilon)
      x = try layer(
        x, rotation: rotation, segments: segments, causal: false, trace: trace.layer("vision.layers.\(n)"))
    }
    return x
  }
}

/// Consecutive ranges of given lengths, from 0.
func segments(of lengths: [Int]) -> [Range<Int>] {
  var start = 0
  return lengths.map { length in
    defer { start += length }
    return start..<start + length
  }
}
