import PixtralStorage
import PixtralText

/// What a params.json or a config.json says, and what is to be said of it.
package struct ParametersFile: Sendable {
  /// A key that is missing, and what has been taken instead.
  package struct Default: Sendable, Equatable {
    /// File, object and key.
    package let place: String
    package let value: JSON
  }

  package let layout: CheckpointLayout
  /// The file.
  package let path: String
  /// The whole file.
  package let json: JSON
  package let parameters: Parameters
  /// Keys that no rule knows.
  package let unknownKeys: [String]
  /// Keys that fall to transformers' defaults.
  package let defaults: [Default]
  /// Keys that make it another model, and numbers that contradict one another: `parameters` is right but for
  /// them.
  package let refusals: [InputError]

  /// - Throws: `InputError` of kind `wrongParameters` if a key makes it another model, or numbers contradict
  ///   one another.
  package func checked() throws -> Parameters {
    if let refusal = refusals.first { throw refusal }
    return parameters
  }

  /// Reads a file of a layout.
  ///
  /// - Throws: `InputError` for a missing key or a wrong type.
  init(_ path: String, layout: CheckpointLayout) throws {
    let json = try JSON(file: path)
    switch layout {
    case .mistral: try self.init(mistral: json, place: path)
    case .hf: try self.init(huggingFace: json, place: path)
    }
  }

  init(
    _ layout: CheckpointLayout, _ path: String, _ json: JSON, _ parameters: Parameters,
    sections: [(name: String, section: ParameterSection)]
  ) {
    self.layout = layout
    self.path = path
    self.json = json
    self.parameters = parameters
    unknownKeys = sections.flatMap { name, section in
      section.unread.map { name.isEmpty ? $0 : "\(name), \($0)" }
    }
    defaults = sections.flatMap { $0.section.defaults }
    refusals = sections.flatMap { $0.section.refusals }
  }

  /// A line for each key that is ignored, for the first twenty, and for each that is not there.
  var warnings: [String] {
    let shown = unknownKeys.prefix(20).map { "unknown key \(onOneLine(shortened($0, to: 200))), ignored" }
    let rest = unknownKeys.count - shown.count
    let unknown = (shown + (rest > 0 ? ["\(rest) more unknown keys, ignored"] : [])).map { "\(path): \($0)" }
    return
      (unknown
      + defaults.map { "\($0.place): no such key; \($0.value.text()) is taken, as transformers does" })
      .map { onOneLine($0) }
  }
}

extension ParametersFile {
  /// Reads the content of a `params.json`.
  ///
  /// - place: named in errors.
  init(mistral json: JSON, place: String) throws {
    var text = try ParameterSection(json, place)
    var image = try text.section("vision_encoder")
    let parameters = Parameters(
      dim: try text.count("dim"),
      layers: try text.count("n_layers", upTo: 10_000),
      headDim: try text.count("head_dim"),
      hiddenDim: try text.count("hidden_dim"),
      heads: try text.count("n_heads"),
      keyValueHeads: try text.count("n_kv_heads"),
      normEpsilon: try text.positive("norm_eps"),
      vocabularySize: try text.count("vocab_size"),
      ropeTheta: try text.positive("rope_theta"),
      vision: Parameters.Vision(
        hiddenSize: try image.count("hidden_size"),
        channels: try image.count("num_channels"),
        imageSize: try image.count("image_size"),
        patchSize: try image.count("patch_size", upTo: 1 << 12),
        intermediateSize: try image.count("intermediate_size"),
        layers: try image.count("num_hidden_layers", upTo: 10_000),
        heads: try image.count("num_attention_heads"),
        ropeTheta: try image.positive("rope_theta"),
        imageToken: try image.count("image_token_id"),
        imageBreakToken: try image.count("image_break_token_id", or: V7Token.imageBreak.rawValue),
        imageEndToken: try image.count("image_end_token_id", or: V7Token.imageEnd.rawValue),
        adapterBias: try image.flag("adapter_bias", or: true)))

    text.refuseOtherModels(
      [("model_type", ["transformer"])] + OtherModels.decoders
        + [
          ("v_head_dim", [.integer(parameters.headDim)]), ("qk_head_dim", [.integer(parameters.headDim)]),
        ])
    image.refuseOtherModels(
      [("model_type", ["pixtral"])] + OtherModels.visionEncoders
        + [
          ("head_dim", [.integer(parameters.vision.headDim)]),
          ("num_key_value_heads", [.integer(parameters.vision.heads)]),
        ])
    // Known, and unused by the arithmetic.
    for key in ["max_seq_len", "max_position_embeddings", "max_batch_size"] { try text.ignoreCount(key) }
    try image.ignoreCount("max_image_size")
    parameters.checkAgreement(&text, &image, .mistral)
    parameters.checkIds(&image, "image_token_id")
    self.init(.mistral, place, json, parameters, sections: [("", text), ("vision_encoder", image)])
  }
}

extension CheckpointLayout {
  /// The keys of numbers that may contradict one another.
  fileprivate struct Keys {
    let heads, keyValueHeads: String

    static let mistral = Keys(heads: "n_heads", keyValueHeads: "n_kv_heads")
    static let hf = Keys(heads: "num_attention_heads", keyValueHeads: "num_key_value_heads")
  }

  fileprivate var keys: Keys { self == .mistral ? .mistral : .hf }
}

extension Parameters {
  /// Notes numbers that contradict one another.
  func checkAgreement(
    _ text: inout ParameterSection, _ image: inout ParameterSection, _ layout: CheckpointLayout
  ) {
    let keys = layout.keys
    let largest = ParameterSection.largest
    text.agree(
      heads % keyValueHeads == 0, keys.heads, "a multiple of \(keys.keyValueHeads) (\(keyValueHeads))", heads)
    text.agree(headDim % 2 == 0, "head_dim", "an even number, for rotary pairs", headDim)
    text.agree(
      heads * headDim <= largest, "\(keys.heads) × head_dim", "at most \(largest)", heads * headDim)
    image.agree(vision.channels == 3, "num_channels", "3, for red, green and blue", vision.channels)
    image.agree(
      vision.hiddenSize % vision.heads == 0, "hidden_size",
      "a multiple of num_attention_heads (\(vision.heads))",
      vision.hiddenSize)
    image.agree(
      vision.headDim % 2 == 0, "hidden_size / num_attention_heads", "an even number, for rotary pairs",
      vision.headDim)
    image.agree(
      vision.imageSize % vision.patchSize == 0, "image_size",
      "a multiple of patch_size (\(vision.patchSize))",
      vision.imageSize)
  }

  /// Notes ids of images that are no tokens, or not three.
  ///
  /// - section: the object in which the layout has them.
  /// - key: that of `[IMG]`.
  func checkIds(_ section: inout ParameterSection, _ key: String) {
    let special = [vision.imageToken, vision.imageBreakToken, vision.imageEndToken]
    for (key, id) in zip([key, "image_break_token_id", "image_end_token_id"], special) {
      section.agree(id < vocabularySize, key, "an id below vocab_size (\(vocabularySize))", id)
    }
    section.agree(Set(special).count == 3, key, "three ids that differ for image, break and end", special[0])
  }
}
