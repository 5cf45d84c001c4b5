/// A tensor that a model of given parameters must have.
package struct TensorEntry: Sendable, Equatable {
  package let name: String
  package let shape: [Int]
  /// Offset and scale of its seeded values. Model.md 9.5.
  let seededOffset: Double
  let seededScale: Double
}

extension Parameters {
  /// Every tensor of the model, once, in the order in which they are used. Model.md 2.
  package var tensors: [TensorEntry] {
    let (e, d) = (vision.hiddenSize, dim)
    var table = [
      linear("vision_encoder.patch_conv.weight", [e, vision.channels, vision.patchSize, vision.patchSize]),
      norm("vision_encoder.ln_pre.weight", e),
    ]
    for n in 0..<vision.layers {
      table += layer(
        "vision_encoder.transformer.layers.\(n)", of: vision.layers, width: e, queries: e, keys: e,
        hidden: vision.intermediateSize)
    }
    table += [
      linear("vision_language_adapter.w_in.weight", [d, e]),
      linear("vision_language_adapter.w_out.weight", [d, d], gain: 1.5),
    ]
    if vision.adapterBias {
      for name in ["w_in", "w_out"] {
        table.append(
          TensorEntry(
            name: "vision_language_adapter.\(name).bias", shape: [d], seededOffset: 0, seededScale: 0.5))
      }
    }
    table.append(
      TensorEntry(
        name: "tok_embeddings.weight", shape: [vocabularySize, d], seededOffset: 0,
        seededScale: 3.0.squareRoot()))
    for n in 0..<layers {
      table += layer(
        "layers.\(n)", of: layers, width: d, queries: heads * headDim, keys: keyValueHeads * headDim,
        hidden: hiddenDim)
    }
    table += [norm("norm.weight", d), linear("output.weight", [vocabularySize, d], gain: 2)]
    return table
  }
}

private func layer(
  _ prefix: String, of layers: Int, width: Int, queries: Int, keys: Int, hidden: Int
) -> [TensorEntry] {
  let depth = (2 * Double(layers)).squareRoot()
  return [
    norm("\(prefix).attention_norm.weight", width),
    linear("\(prefix).attention.wq.weight", [queries, width], gain: 1.5),
    linear("\(prefix).attention.wk.weight", [keys, width], gain: 1.5),
    linear("\(prefix).attention.wv.weight", [keys, width]),
    linear("\(prefix).attention.wo.weight", [width, queries], gain: 1.5, over: depth),
    norm("\(prefix).ffn_norm.weight", width),
    linear("\(prefix).feed_forward.w1.weight", [hidden, width], gain: 1.5),
    linear("\(prefix).feed_forward.w2.weight", [width, hidden], gain: 1.5, over: depth),
    linear("\(prefix).feed_forward.w3.weight", [hidden, width]),
  ]
}

private func norm(_ name: String, _ width: Int) -> TensorEntry {
  TensorEntry(name: name, shape: [width], seededOffset: 1, seededScale: 0.5)
}

private func linear(_ name: String, _ shape: [Int], gain: Double = 1, over depth: Double = 1) -> TensorEntry {
  let fanIn = shape.dropFirst().reduce(1, *)
  return TensorEntry(
    name: name, shape: shape, seededOffset: 0, seededScale: gain * (3 / Double(fanIn)).squareRoot() / depth)
}
