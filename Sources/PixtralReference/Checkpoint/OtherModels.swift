import PixtralStorage

/// Keys with which mistral_inference, vLLM or transformers take a checkpoint for another model, and the
/// values, beside null, with which they do not. To ignore one would be to compute another model.
enum OtherModels {
  static let decoders: [(key: String, same: [JSON])] = textModels + nullKeys(["layer_types"]) + rotary

  static let visionEncoders: [(key: String, same: [JSON])] = visionTowers + rotary

  /// The same of a decoder but for the keys that config.json may have: those of rotation, and the kind of
  /// each layer.
  static let textModels: [(key: String, same: [JSON])] =
    [
      ("activation", ["silu"]), ("hidden_act", ["silu"]),
      ("causal", [.bool(true)]), ("partial_rotary_factor", [.integer(1), .number(1)]),
    ] + tied + falseKeys(["ada_rms_norm_t_cond"])
    + nullKeys([
      "_sliding_window", "multimodal", "yarn", "llama_4_scaling",
      // Mixtures of experts, in params.json and in transformers' names.
      "num_experts", "num_experts_per_tok", "n_routed_experts", "n_shared_experts", "moe_intermediate_size",
      "first_k_dense_replace", "mlp_layer_types",
      // Latent and sparse attention.
      "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "index_topk", "index_n_heads",
      "index_head_dim", "indexer_types", "kv_source_layers",
      "no_rope_layers", "attn_logit_softcapping", "final_logit_softcapping", "ada_rms_norm_t_cond_dim",
    ]) + ofEither

  /// The same of a vision encoder.
  static let visionTowers: [(key: String, same: [JSON])] =
    [
      ("activation", ["silu"]), ("hidden_act", ["silu"]),
      ("causal", [.bool(false)]), ("spatial_merge_size", [.integer(1)]), ("mm_projector_id", [""]),
      ("norm_eps", [.number(1e-5)]), ("rms_norm_eps", [.number(1e-5)]), ("layer_norm_eps", [.number(1e-5)]),
    ] + falseKeys(["add_pre_mm_projector_layer_norm"]) + ofEither

  static let tied = falseKeys(["tied_embeddings", "tie_embeddings", "tie_word_embeddings"])

  static let quantised = nullKeys(["quantization", "quantization_config"])

  private static let ofEither: [(key: String, same: [JSON])] =
    falseKeys(["attention_bias", "mlp_bias", "use_biases", "biases"])
    + nullKeys(["sliding_window", "moe", "lora"]) + quantised

  private static let rotary: [(key: String, same: [JSON])] = [
    ("rope_scaling", [["rope_type": "default"], ["type": "default"]]), ("rope_parameters", []),
  ]

  private static func falseKeys(_ keys: [String]) -> [(key: String, same: [JSON])] {
    keys.map { ($0, [.bool(false)]) }
  }

  private static func nullKeys(_ keys: [String]) -> [(key: String, same: [JSON])] { keys.map { ($0, []) } }
}
