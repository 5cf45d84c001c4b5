extension Parameters {
  /// The taps that a tap is computed from. Model.md 5 to 7.
  ///
  /// - hasImages: whether the run has any; without, the embeddings come from the tokens alone.
  /// - Returns: none for what is computed from pixels or tokens.
  func inputs(of tap: String, hasImages: Bool) -> [String] {
    if let name = LayerTapName(tap) { return inputs(of: name) }
    let inputs: [String?] =
      switch ModelTap(rawValue: tap) {
      case .lnPre: [ModelTap.patchConv.rawValue]
      case .adapterIn: [output(of: "vision", vision.layers)]
      case .adapterGelu: [ModelTap.adapterIn.rawValue]
      case .adapterOut: [ModelTap.adapterGelu.rawValue]
      case .embeddings: [hasImages ? ModelTap.adapterOut.rawValue : nil]
      case .decoderNorm: [output(of: "decoder", layers)]
      case .logits: [ModelTap.decoderNorm.rawValue]
      case .patchConv, nil: []
      }
    return inputs.compactMap(\.self)
  }

  private func inputs(of name: LayerTapName) -> [String] {
    let taps: [LayerTap]
    let takesInput: Bool
    (taps, takesInput) =
      switch name.tap {
      case .attentionNorm: ([], true)
      case .q, .k, .v: ([.attentionNorm], false)
      case .qRotated: ([.q], false)
      case .kRotated: ([.k], false)
      case .scores: ([.qRotated, .kRotated], false)
      case .weights: ([.scores], false)
      case .context: ([.qRotated, .kRotated, .v], false)
      case .attentionOutput: ([.context], false)
      case .residual: ([.attentionOutput], true)
      case .ffnNorm: ([.residual], false)
      case .gate, .up: ([.ffnNorm], false)
      case .hidden: ([.gate, .up], false)
      case .feedForwardOutput: ([.hidden], false)
      case .output: ([.residual, .feedForwardOutput], false)
      }
    let own = taps.map { "\(name.part).layers.\(name.layer).\($0.rawValue)" }
    return (takesInput ? [output(of: name.part, name.layer)] : []) + own
  }

  /// What the layers before number `layer` give.
  private func output(of part: String, _ layer: Int) -> String {
    if layer == 0 { return (part == "vision" ? ModelTap.lnPre : .embeddings).rawValue }
    return "\(part).layers.\(layer - 1).\(LayerTap.output.rawValue)"
  }

  /// The heads of a tap that has any.
  func heads(of tap: String) -> Int? {
    guard let name = LayerTapName(tap) else { return nil }
    let heads = name.part == "vision" ? visionHeads : decoderHeads
    switch name.tap {
    case .q, .qRotated, .scores, .weights, .context: return heads.query
    case .k, .kRotated, .v: return heads.keyValue
    default: return nil
    }
  }
}

extension LayerTap {
  /// Whether the columns are those of heads, side by side.
  var hasHeads: Bool {
    switch self {
    case .q, .k, .v, .qRotated, .kRotated, .scores, .weights, .context: true
    default: false
    }
  }
}
