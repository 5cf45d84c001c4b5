import PixtralImage
import PixtralStorage
import PixtralText

/// Every hyper-parameter of a Pixtral, as its `params.json` gives them. Model.md 1.
///
/// There are no defaults: a key that the arithmetic needs and the file lacks is an error. The
/// exceptions are the format's own: `adapter_bias` is true where it is absent, the ids of
/// `[IMG_BREAK]` and `[IMG_END]` are 14 and 15, and the vision encoder's epsilon is no key at all.
public struct Parameters: Sendable, Equatable {
  /// Width of the decoder.
  public let dim: Int
  /// Layers of the decoder.
  public let layers: Int
  /// Columns of a head of the decoder.
  public let headDim: Int
  /// Width of the decoder's feed-forward branch.
  public let hiddenDim: Int
  /// Query heads of the decoder.
  public let heads: Int
  /// Key-value heads of the decoder.
  public let keyValueHeads: Int
  /// Epsilon of the decoder's norms.
  public let normEpsilon: Double
  /// Rows of the token embeddings and of the output head.
  public let vocabularySize: Int
  /// Base of the decoder's rotary frequencies.
  public let ropeTheta: Double
  /// The vision encoder.
  public let vision: Vision
  /// Keys that no rule here knows, for a warning.
  package let unknownKeys: [String]

  /// The hyper-parameters of the vision encoder and of the adapter.
  public struct Vision: Sendable, Equatable {
    /// Width of the vision encoder.
    public let hiddenSize: Int
    /// 3: red, green and blue.
    public let channels: Int
    /// Longest side of an image after scaling, in pixels.
    public let imageSize: Int
    /// Side of a patch, in pixels.
    public let patchSize: Int
    /// Width of the feed-forward branch.
    public let intermediateSize: Int
    /// Layers of the vision encoder.
    public let layers: Int
    /// Heads of the vision encoder.
    public let heads: Int
    /// Base of the rotary frequencies.
    public let ropeTheta: Double
    /// Id of `[IMG]`.
    public let imageToken: Int
    /// Id of `[IMG_BREAK]`.
    public let imageBreakToken: Int
    /// Id of `[IMG_END]`.
    public let imageEndToken: Int
    /// Whether the adapter's layers have biases.
    public let adapterBias: Bool
    /// Fixed by the format: mistral_inference and transformers both write this number into their
    /// code.
    public let normEpsilon = 1e-5

    /// Columns of a head.
    public var headDim: Int { hiddenSize / heads }
  }
}

extension Parameters {
  /// Reads and checks the content of a `params.json`.
  ///
  /// - place: named in errors.
  /// - Throws: `InputError` of kind `wrongParameters` for a missing key, a wrong type, or numbers
  ///   that contradict one another.
  package init(_ json: JSON, place: String) throws {
    var text = try Section(json, place)
    var image = try text.section("vision_encoder")

    dim = try text.count("dim")
    layers = try text.count("n_layers", upTo: 10_000)
    headDim = try text.count("head_dim")
    hiddenDim = try text.count("hidden_dim")
    heads = try text.count("n_heads")
    keyValueHeads = try text.count("n_kv_heads")
    normEpsilon = try text.positive("norm_eps")
    vocabularySize = try text.count("vocab_size")
    ropeTheta = try text.positive("rope_theta")
    vision = Vision(
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
      adapterBias: try image.flag("adapter_bias", or: true))

    try text.refuseOtherModels(
      Self.otherDecoders + [("v_head_dim", [.integer(headDim)]), ("qk_head_dim", [.integer(headDim)])])
    try image.refuseOtherModels(
      Self.otherVisionEncoders + [
        ("head_dim", [.integer(vision.headDim)]), ("num_key_value_heads", [.integer(vision.heads)]),
      ])
    // Known, and unused by the arithmetic.
    for key in ["max_seq_len", "max_position_embeddings", "max_batch_size"] { try text.ignoreCount(key) }
    try image.ignoreCount("max_image_size")
    unknownKeys = text.unread + image.unread.map { "vision_encoder, \($0)" }

    try text.agree(
      heads % keyValueHeads == 0, "n_heads", "a multiple of n_kv_heads (\(keyValueHeads))", heads)
    try text.agree(headDim % 2 == 0, "head_dim", "an even number, for rotary pairs", headDim)
    try text.agree(
      heads * headDim <= Section.largest, "n_heads × head_dim", "at most \(Section.largest)", heads * headDim)
    try image.agree(vision.channels == 3, "num_channels", "3, for red, green and blue", vision.channels)
    try image.agree(
      vision.hiddenSize % vision.heads == 0, "hidden_size",
      "a multiple of num_attention_heads (\(vision.heads))",
      vision.hiddenSize)
    try image.agree(
      vision.headDim % 2 == 0, "hidden_size / num_attention_heads", "an even number, for rotary pairs",
      vision.headDim)
    try image.agree(
      vision.imageSize % vision.patchSize == 0, "image_size",
      "a multiple of patch_size (\(vision.patchSize))",
      vision.imageSize)
    let special = [vision.imageToken, vision.imageBreakToken, vision.imageEndToken]
    for (key, id) in zip(["image_token_id", "image_break_token_id", "image_end_token_id"], special) {
      try image.agree(id < vocabularySize, key, "an id below vocab_size (\(vocabularySize))", id)
    }
    try image.agree(
      Set(special).count == 3, "image_token_id", "three ids that differ for image, break and end", special[0])
  }

  /// Keys with which mistral_inference, vLLM or transformers take a checkpoint for another model, and the
  /// values, beside null, with which they do not. To ignore one would be to compute another model.
  private static let otherDecoders: [(key: String, same: [JSON])] =
    [
      ("model_type", ["transformer"]), ("activation", ["silu"]), ("hidden_act", ["silu"]),
      ("causal", [.bool(true)]), ("partial_rotary_factor", [.integer(1), .number(1)]),
    ] + falseKeys(["tied_embeddings", "tie_embeddings", "tie_word_embeddings", "ada_rms_norm_t_cond"])
    + nullKeys([
      "_sliding_window", "layer_types", "multimodal", "yarn", "llama_4_scaling",
      // Mixtures of experts, in params.json and in transformers' names.
      "num_experts", "num_experts_per_tok", "n_routed_experts", "n_shared_experts", "moe_intermediate_size",
      "first_k_dense_replace", "mlp_layer_types",
      // Latent and sparse attention.
      "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "index_topk", "index_n_heads",
      "index_head_dim", "indexer_types", "kv_source_layers",
      "no_rope_layers", "attn_logit_softcapping", "final_logit_softcapping", "ada_rms_norm_t_cond_dim",
    ]) + ofEither

  private static let otherVisionEncoders: [(key: String, same: [JSON])] =
    [
      ("model_type", ["pixtral"]), ("activation", ["silu"]), ("hidden_act", ["silu"]),
      ("causal", [.bool(false)]), ("spatial_merge_size", [.integer(1)]), ("mm_projector_id", [""]),
      ("norm_eps", [.number(1e-5)]), ("rms_norm_eps", [.number(1e-5)]), ("layer_norm_eps", [.number(1e-5)]),
    ] + falseKeys(["add_pre_mm_projector_layer_norm"]) + ofEither

  private static let ofEither: [(key: String, same: [JSON])] =
    [
      ("rope_scaling", [["rope_type": "default"], ["type": "default"]]), ("rope_parameters", []),
    ] + falseKeys(["attention_bias", "mlp_bias", "use_biases", "biases"])
    + nullKeys(["sliding_window", "moe", "lora", "quantization", "quantization_config"])

  private static func falseKeys(_ keys: [String]) -> [(key: String, same: [JSON])] {
    keys.map { ($0, [.bool(false)]) }
  }

  private static func nullKeys(_ keys: [String]) -> [(key: String, same: [JSON])] { keys.map { ($0, []) } }

  /// Tokens that the model was trained for; no step computes with it.
  static let contextLength = 131_072

  /// How an image becomes patches.
  var imageRule: ImageRule { ImageRule(patchSize: vision.patchSize, longestSide: vision.imageSize) }

  /// Makes sure that the ids of images are those that the template writes. (Tokens from elsewhere may have
  /// others.)
  ///
  /// - Throws: `InputError` of kind `wrongParameters`, naming the key.
  func checkImageTokens() throws {
    let ids: [(key: String, id: Int, token: V7Token)] = [
      ("image_token_id", vision.imageToken, .image),
      ("image_break_token_id", vision.imageBreakToken, .imageBreak),
      ("image_end_token_id", vision.imageEndToken, .imageEnd),
    ]
    for (key, id, token) in ids where id != token.rawValue {
      throw InputError(
        .wrongParameters, "params.json, vision_encoder, \(key)", expected: "\(token.rawValue), as V7 has it",
        found: "\(id)", advice: "give tokens and pixels instead of a request")
    }
  }

  /// As `params.json` text, with every key that other runtimes ask for.
  package var json: JSON {
    [
      "dim": .integer(dim), "n_layers": .integer(layers), "head_dim": .integer(headDim),
      "hidden_dim": .integer(hiddenDim), "n_heads": .integer(heads), "n_kv_heads": .integer(keyValueHeads),
      "norm_eps": .number(normEpsilon), "vocab_size": .integer(vocabularySize),
      "rope_theta": .number(ropeTheta),
      "max_position_embeddings": .integer(Self.contextLength),
      "vision_encoder": [
        "hidden_size": .integer(vision.hiddenSize), "num_channels": .integer(vision.channels),
        "image_size": .integer(vision.imageSize), "patch_size": .integer(vision.patchSize),
        "intermediate_size": .integer(vision.intermediateSize), "num_hidden_layers": .integer(vision.layers),
        "num_attention_heads": .integer(vision.heads), "rope_theta": .number(vision.ropeTheta),
        "image_token_id": .integer(vision.imageToken),
        "image_break_token_id": .integer(vision.imageBreakToken),
        "image_end_token_id": .integer(vision.imageEndToken), "adapter_bias": .bool(vision.adapterBias),
        "max_image_size": .integer(vision.imageSize),
      ],
    ]
  }
}

/// One object of `params.json`, and which of its keys were read.
private struct Section {
  let members: [JSON.Member]
  let place: String
  var read: Set<String> = []

  init(_ json: JSON, _ place: String) throws {
    guard case .object(let members) = json else {
      throw InputError(.wrongParameters, place, expected: "a JSON object", found: json.text())
    }
    self.members = members
    self.place = place
  }

  var unread: [String] { members.map(\.key).filter { !read.contains($0) } }

  /// A key that changes nothing here, but must not be nonsense.
  mutating func ignoreCount(_ key: String) throws {
    if let value = optional(key), value != .null { _ = try count(key) }
  }

  mutating func section(_ key: String) throws -> Section {
    try Section(try value(key, "an object"), "\(place), \(key)")
  }

  /// No size of a model is larger; no product or sum of what is allowed here leaves 63 bits.
  static let largest = 1 << 20

  /// A whole number above 0.
  ///
  /// - absent: the value if there is no such key, or null.
  mutating func count(_ key: String, or absent: Int? = nil, upTo largest: Int = Self.largest) throws -> Int {
    if let absent, optional(key) ?? .null == .null { return absent }
    let value = try value(key, "a whole number")
    guard case .integer(let number) = value, (1...largest).contains(number) else {
      throw wrong(key, "a whole number from 1 to \(largest)", value.text())
    }
    return number
  }

  /// A finite number above 0.
  mutating func positive(_ key: String) throws -> Double {
    let value = try value(key, "a number")
    switch value {
    case .integer(let number) where number > 0: return Double(number)
    case .number(let number) where number > 0 && number.isFinite: return number
    default: throw wrong(key, "a number above 0", value.text())
    }
  }

  mutating func flag(_ key: String, or absent: Bool) throws -> Bool {
    guard let value = optional(key) else { return absent }
    guard case .bool(let flag) = value else { throw wrong(key, "true or false", value.text()) }
    return flag
  }

  /// Keys whose every other value would mean another architecture.
  mutating func refuseOtherModels(_ keys: [(key: String, same: [JSON])]) throws {
    for (key, same) in keys {
      guard let value = optional(key), value != .null, !same.contains(value) else { continue }
      let allowed = (same + [.null]).map { $0.text() }.joined(separator: ", ")
      let other = same.isEmpty || same == [.bool(false)] ? "none" : "no other"
      throw wrong(key, "\(allowed) or no such key: Pixtral has \(other)", value.text())
    }
  }

  func agree(_ holds: Bool, _ key: String, _ expected: String, _ found: Int) throws {
    if !holds { throw wrong(key, expected, "\(found)") }
  }

  private mutating func optional(_ key: String) -> JSON? {
    read.insert(key)
    return members.first { $0.key == key }?.value
  }

  private mutating func value(_ key: String, _ expected: String) throws -> JSON {
    guard let value = optional(key) else { throw wrong(key, expected, "no such key") }
    return value
  }

  private func wrong(_ key: String, _ expected: String, _ found: String) -> InputError {
    InputError(.wrongParameters, "\(place), \(key)", expected: expected, found: found)
  }
}
