import PixtralStorage
import PixtralText

/// A config.json of transformers' LlavaForConditionalGeneration.
///
/// Where a key is missing, transformers fills in the default of a class (5.23: LlavaConfig, MistralConfig,
/// LlamaConfig, PixtralVisionConfig). A number or flag is taken from there too, and noted; a default that
/// would make it another model is refused.
extension ParametersFile {
  /// - place: named in errors.
  init(huggingFace json: JSON, place: String) throws {
    var top = try ParameterSection(json, place)
    guard top.optional("model_type") == "llava" else {
      throw top.wrong(
        "model_type", #""llava""#, top.optional("model_type")?.text() ?? "no such key")
    }
    var text = try top.section("text_config")
    var image = try top.section("vision_config")

    let decoder = try DecoderSizes(&text)
    let tower = try TowerSizes(&image)
    let parameters = Parameters(
      dim: decoder.hiddenSize,
      layers: decoder.layers,
      headDim: decoder.headDim,
      hiddenDim: decoder.intermediateSize,
      heads: decoder.heads,
      keyValueHeads: decoder.keyValueHeads,
      normEpsilon: try text.positive("rms_norm_eps", default: 1e-6),
      vocabularySize: try text.count("vocab_size", default: 32_000),
      ropeTheta: try text.rope(types: ["default"]),
      vision: Parameters.Vision(
        hiddenSize: tower.hiddenSize,
        channels: try image.count("num_channels", default: 3),
        imageSize: try image.side("image_size", default: 1024),
        patchSize: try image.side("patch_size", default: 16, upTo: 1 << 12),
        intermediateSize: try image.count("intermediate_size", default: 4096),
        layers: tower.layers,
        heads: tower.heads,
        ropeTheta: try image.rope(types: ["default", "axial"]),
        imageToken: try top.imageToken(),
        imageBreakToken: V7Token.imageBreak.rawValue,
        imageEndToken: V7Token.imageEnd.rawValue,
        adapterBias: try top.flag("multimodal_projector_bias", default: true)))

    top.refuseOtherModels(
      [("projector_hidden_act", ["gelu"])] + OtherModels.tied + OtherModels.quantised)
    let last = JSON.integer(parameters.vision.layers)
    top.requireSame([
      ("vision_feature_layer", [.integer(-1), last, [.integer(-1)], [last]], "-2"),
      ("vision_feature_select_strategy", ["full"], #""default""#),
    ])
    text.refuseOtherModels(
      OtherModels.textModels + [
        ("v_head_dim", [.integer(parameters.headDim)]), ("qk_head_dim", [.integer(parameters.headDim)]),
        ("layer_types", [.array([JSON](repeating: "full_attention", count: parameters.layers))]),
      ])
    if text.optional("model_type") == "mistral", text.optional("sliding_window") == nil {
      text.requireSame([("sliding_window", [.null], "4096")])
    }
    image.requireSame([
      ("model_type", ["pixtral"], #""clip_vision_model""#), ("hidden_act", ["silu"], #""gelu""#),
    ])
    image.refuseOtherModels(
      OtherModels.visionTowers.filter { $0.key != "hidden_act" } + [
        ("head_dim", [.integer(parameters.vision.headDim)]),
        ("num_key_value_heads", [.integer(parameters.vision.heads)]),
      ])
    top.ignore(harmless + ["image_seq_length", "ignore_index"])
    text.ignore(harmless + ["max_position_embeddings", "pretraining_tp"])
    image.ignore(harmless)
    parameters.checkAgreement(&text, &image, .hf)
    let imageToken = top.optional("image_token_id") == nil ? "image_token_index" : "image_token_id"
    parameters.checkIds(&top, imageToken)
    self.init(
      .hf, place, json, parameters,
      sections: [("", top), ("text_config", text), ("vision_config", image)])
  }
}

/// Sizes whose defaults depend on each other.
private struct DecoderSizes {
  let hiddenSize, layers, intermediateSize, heads, keyValueHeads, headDim: Int

  init(_ text: inout ParameterSection) throws {
    // Llama computes as Mistral does, but for what Mistral has a sliding window.
    let type = text.optional("model_type")
    if type != "mistral" && type != "llama" {
      text.refuse(
        "model_type", #""mistral" or "llama""#,
        type?.text() ?? "no such key, for which transformers takes \"llama\"")
    }
    hiddenSize = try text.count("hidden_size", default: 4096)
    layers = try text.count("num_hidden_layers", default: 32, upTo: 10_000)
    intermediateSize = try text.count("intermediate_size", default: type == "mistral" ? 14_336 : 11_008)
    heads = try text.count("num_attention_heads", default: 32)
    // null is as many as query heads.
    keyValueHeads =
      text.optional("num_key_value_heads") == .null
      ? heads : try text.count("num_key_value_heads", default: type == "mistral" ? 8 : heads)
    headDim =
      text.optional("head_dim") == .null
      ? max(1, hiddenSize / heads) : try text.count("head_dim", default: max(1, hiddenSize / heads))
  }
}

private struct TowerSizes {
  let hiddenSize, layers, heads: Int

  init(_ image: inout ParameterSection) throws {
    hiddenSize = try image.count("hidden_size", default: 1024)
    layers = try image.count("num_hidden_layers", default: 24, upTo: 10_000)
    heads = try image.count("num_attention_heads", default: 16)
  }
}

extension ParameterSection {
  /// The base of rotary frequencies: flat (`rope_theta`), or nested (`rope_parameters`, or `rope_scaling`,
  /// as older releases name it).
  ///
  /// - types: kinds of rotation that are Pixtral's.
  fileprivate mutating func rope(types: [JSON]) throws -> Double {
    var inside: (theta: Double, key: String)?
    for key in ["rope_parameters", "rope_scaling"] {
      guard let value = optional(key), value != .null else { continue }
      var nested = try ParameterSection(value, "\(place), \(key)")
      for name in ["rope_type", "type"] {
        guard let type = nested.optional(name), !types.contains(type) else { continue }
        refuse("\(key), \(name)", types.map { $0.text() }.joined(separator: " or "), type.text())
      }
      if let theta = nested.optional("rope_theta"), theta != .null {
        let theta = try nested.positive("rope_theta")
        if let inside, inside.theta != theta {
          refuse("\(key), rope_theta", "\(inside.theta), as in \(inside.key)", "\(theta)")
        }
        inside = inside ?? (theta, key)
      }
      nested.refuseOtherModels([("partial_rotary_factor", [.integer(1), .number(1)])])
      for inner in nested.refusals {
        refuse("\(key), partial_rotary_factor", inner.expected, inner.found)
      }
      if let other = nested.unread.first {
        refuse("\(key), \(other)", "rope_type and rope_theta alone", "another key")
      }
    }
    guard let inside else { return try positive("rope_theta", default: 10_000) }
    guard let flat = optional("rope_theta"), flat != .null else { return inside.theta }
    let theta = try positive("rope_theta")
    if theta != inside.theta {
      refuse(
        "rope_theta", "\(inside.theta), as in \(inside.key)", "\(theta)",
        advice: "releases of transformers differ in which of the two they take")
    }
    return inside.theta
  }

  /// A side, which may be written for height and width.
  fileprivate mutating func side(_ key: String, default number: Int, upTo largest: Int = Self.largest) throws
    -> Int
  {
    guard let sides = optional(key)?.integers else { return try count(key, default: number, upTo: largest) }
    guard sides.count == 2, sides[0] == sides[1], (1...largest).contains(sides[0]) else {
      throw wrong(key, "one number, or the same number twice", "\(sides)")
    }
    return sides[0]
  }

  /// `image_token_index`, which newer releases call `image_token_id`.
  fileprivate mutating func imageToken() throws -> Int {
    guard optional("image_token_id") != nil else { return try count("image_token_index", default: 32_000) }
    let token = try count("image_token_id")
    guard optional("image_token_index") == nil else {
      let older = try count("image_token_index")
      if older != token { refuse("image_token_index", "\(token), as image_token_id", "\(older)") }
      return token
    }
    return token
  }
}

/// What transformers writes into every configuration, and what matters in training or for the shape of an
/// answer only.
private let harmless = [
  "_name_or_path", "_attn_implementation_autoset", "_attn_implementation", "add_cross_attention",
  "architectures", "attention_dropout", "auto_map", "bad_words_ids", "begin_suppress_tokens", "bos_token_id",
  "chunk_size_feed_forward", "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty",
  "do_sample", "dropout", "dtype", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id",
  "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id",
  "id2label", "initializer_range", "is_composition", "is_decoder", "is_encoder_decoder", "label2id",
  "length_penalty", "max_length", "min_length", "model_type", "no_repeat_ngram_size", "num_beam_groups",
  "num_beams", "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores",
  "pad_token_id", "prefix", "problem_type", "pruned_heads", "remove_invalid_values", "repetition_penalty",
  "return_dict", "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params",
  "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tie_word_embeddings", "tokenizer_class", "top_k",
  "top_p", "torch_dtype", "torchscript", "transformers_version", "typical_p", "use_bfloat16", "use_cache",
]
