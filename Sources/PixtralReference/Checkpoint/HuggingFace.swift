import PixtralImage
import PixtralStorage
import PixtralText

/// A tensor's name in the Hugging Face layout.
func huggingFaceName(_ name: String) -> String {
  let parts = name.split(separator: ".").map(String.init)
  if parts[0] == "vision_language_adapter" {
    return "multi_modal_projector.\(parts[1] == "w_in" ? "linear_1" : "linear_2").\(parts[2])"
  }
  let isVision = parts[0] == "vision_encoder"
  if !isVision, parts[0] != "layers" {
    let names = [
      "tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head",
    ]
    return "language_model.\(names[parts[0]]!).weight"
  }
  if isVision, parts[1] != "transformer" { return "vision_tower.\(parts[1]).weight" }

  let ofProjection = [
    "wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "o_proj", "w1": "gate_proj", "w2": "down_proj",
    "w3": "up_proj",
  ]
  let ofModule =
    isVision
    ? [:]
    : [
      "attention": "self_attn", "feed_forward": "mlp", "attention_norm": "input_layernorm",
      "ffn_norm": "post_attention_layernorm",
    ]
  let number = parts[isVision ? 3 : 1]
  let rest = parts[(isVision ? 4 : 2)...].map { ofModule[$0] ?? ofProjection[$0] ?? $0 }.joined(
    separator: ".")
  return "\(isVision ? "vision_tower.transformer" : "language_model.model").layers.\(number).\(rest)"
}

extension Parameters {
  /// The configuration files of the Hugging Face layout, by name; the one that makes the folder a
  /// checkpoint comes last.
  var huggingFaceFiles: [(String, JSON)] {
    let image: JSON = [
      "do_convert_rgb": .bool(true), "do_normalize": .bool(true), "do_rescale": .bool(true),
      "do_resize": .bool(true),
      "image_mean": .array(Pixels.mean.map(decimal)), "image_std": .array(Pixels.deviation.map(decimal)),
      "image_processor_type": "PixtralImageProcessor", "patch_size": .integer(vision.patchSize),
      "resample": .integer(3),
      "rescale_factor": .number(1.0 / 255), "size": ["longest_edge": .integer(vision.imageSize)],
    ]
    let processor: JSON = [
      "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]", "image_token": "[IMG]",
      "patch_size": .integer(vision.patchSize), "processor_class": "PixtralProcessor",
    ]
    return [
      ("preprocessor_config.json", image), ("processor_config.json", processor),
      (
        "generation_config.json",
        [
          "bos_token_id": .integer(V7Token.beginOfSequence.rawValue),
          "eos_token_id": .integer(V7Token.endOfSequence.rawValue),
        ]
      ),
      ("config.json", huggingFaceConfig),
    ]
  }

  private var huggingFaceConfig: JSON {
    let text: JSON = [
      "model_type": "mistral", "architectures": .array(["MistralForCausalLM"]), "hidden_size": .integer(dim),
      "num_hidden_layers": .integer(layers), "head_dim": .integer(headDim),
      "intermediate_size": .integer(hiddenDim),
      "num_attention_heads": .integer(heads), "num_key_value_heads": .integer(keyValueHeads),
      "rms_norm_eps": .number(normEpsilon), "vocab_size": .integer(vocabularySize),
      "rope_theta": .number(ropeTheta),
      "rope_parameters": ["rope_type": "default", "rope_theta": .number(ropeTheta)],
      "hidden_act": "silu", "max_position_embeddings": .integer(131_072), "sliding_window": .null,
      "tie_word_embeddings": .bool(false), "torch_dtype": "bfloat16",
      "bos_token_id": .integer(V7Token.beginOfSequence.rawValue),
      "eos_token_id": .integer(V7Token.endOfSequence.rawValue),
    ]
    // hidden_act is written out because transformers' own default for Pixtral is gelu (V-gelu).
    let visual: JSON = [
      "model_type": "pixtral", "hidden_size": .integer(vision.hiddenSize),
      "num_channels": .integer(vision.channels),
      "image_size": .integer(vision.imageSize), "patch_size": .integer(vision.patchSize),
      "intermediate_size": .integer(vision.intermediateSize), "num_hidden_layers": .integer(vision.layers),
      "num_attention_heads": .integer(vision.heads), "head_dim": .integer(vision.headDim),
      "rope_theta": .number(vision.ropeTheta),
      "rope_parameters": ["rope_type": "axial", "rope_theta": .number(vision.ropeTheta)],
      "hidden_act": "silu", "torch_dtype": "bfloat16",
    ]
    return [
      "model_type": "llava", "architectures": .array(["LlavaForConditionalGeneration"]),
      "image_token_index": .integer(vision.imageToken),
      "multimodal_projector_bias": .bool(vision.adapterBias),
      "projector_hidden_act": "gelu", "vision_feature_layer": .integer(-1),
      "vision_feature_select_strategy": "full",
      "tie_word_embeddings": .bool(false), "torch_dtype": "bfloat16", "text_config": text,
      "vision_config": visual,
    ]
  }
}

/// A float32 as the shortest decimal that gives it back.
private func decimal(_ value: Float) -> JSON { .number(Double("\(value)")!) }
