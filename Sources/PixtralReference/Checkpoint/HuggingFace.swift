import PixtralImage
import PixtralStorage
import PixtralText

extension Checkpoint {
  /// What transformers, and the programs that read the same files, look for. config.json, which
  /// makes the folder a checkpoint, comes last.
  ///
  /// - tokenizer: the tokenizer's model file. It goes along twice: mistral-common knows it by the one
  ///   name, llama.cpp's converter by the other.
  func huggingFaceFiles(tokenizer: String) throws -> [CheckpointFile] {
    let vocabulary = try Tokenizer(file: tokenizer).vocabulary
    return [
      try CheckpointFile("tokenizer.model.v7m1", copyOf: tokenizer),
      try CheckpointFile("tokenizer.model", copyOf: tokenizer),
      CheckpointFile("tokenizer.json", vocabulary.huggingFaceTokenizer.text()),
      CheckpointFile("tokenizer_config.json", vocabulary.huggingFaceTokenizerConfig),
      CheckpointFile("chat_template.jinja", chatTemplate),
      CheckpointFile("preprocessor_config.json", parameters.huggingFaceImages),
      CheckpointFile("processor_config.json", parameters.huggingFaceProcessor),
      CheckpointFile(
        "generation_config.json", ["bos_token_id": begin, "eos_token_id": end, "pad_token_id": padding]),
      CheckpointFile("config.json", parameters.huggingFaceConfig),
    ]
  }
}

private let begin = JSON.integer(V7Token.beginOfSequence.rawValue)
private let end = JSON.integer(V7Token.endOfSequence.rawValue)
/// V7 has no token for padding, and some programs want one. `<unk>` is the token that no text becomes;
/// padding with `</s>` would have trainers leave out the ends of messages.
private let padding = JSON.integer(0)

extension Parameters {
  fileprivate var huggingFaceImages: JSON {
    [
      "do_convert_rgb": .bool(true), "do_normalize": .bool(true), "do_rescale": .bool(true),
      "do_resize": .bool(true),
      "image_mean": .array(Pixels.mean.map(JSON.number)),
      "image_std": .array(Pixels.deviation.map(JSON.number)),
      "image_processor_type": "PixtralImageProcessor", "patch_size": .integer(vision.patchSize),
      "resample": .integer(3),
      "rescale_factor": .number(1.0 / 255), "size": ["longest_edge": .integer(vision.imageSize)],
    ]
  }

  fileprivate var huggingFaceProcessor: JSON {
    [
      "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]", "image_token": "[IMG]",
      "patch_size": .integer(vision.patchSize), "processor_class": "PixtralProcessor",
    ]
  }

  var huggingFaceConfig: JSON {
    let text: JSON = [
      "model_type": "mistral", "architectures": .array(["MistralForCausalLM"]), "hidden_size": .integer(dim),
      "num_hidden_layers": .integer(layers), "head_dim": .integer(headDim),
      "intermediate_size": .integer(hiddenDim),
      "num_attention_heads": .integer(heads), "num_key_value_heads": .integer(keyValueHeads),
      "rms_norm_eps": .number(normEpsilon), "vocab_size": .integer(vocabularySize),
      "rope_theta": .number(ropeTheta),
      "rope_parameters": ["rope_type": "default", "rope_theta": .number(ropeTheta)],
      "hidden_act": "silu", "max_position_embeddings": .integer(Self.contextLength), "sliding_window": .null,
      "tie_word_embeddings": .bool(false), "torch_dtype": "bfloat16",
      "bos_token_id": begin, "eos_token_id": end, "pad_token_id": padding,
    ]
    // hidden_act is written out because transformers' own default for Pixtral is gelu (V-gelu).
    // There is no rope_parameters: its rope_type would be "axial" for some releases of transformers,
    // and others know no such type. All of them read rope_theta.
    let visual: JSON = [
      "model_type": "pixtral", "hidden_size": .integer(vision.hiddenSize),
      "num_channels": .integer(vision.channels),
      "image_size": .integer(vision.imageSize), "patch_size": .integer(vision.patchSize),
      "intermediate_size": .integer(vision.intermediateSize), "num_hidden_layers": .integer(vision.layers),
      "num_attention_heads": .integer(vision.heads), "head_dim": .integer(vision.headDim),
      "rope_theta": .number(vision.ropeTheta), "hidden_act": "silu", "torch_dtype": "bfloat16",
    ]
    return [
      "model_type": "llava", "architectures": .array(["LlavaForConditionalGeneration"]),
      "image_token_index": .integer(vision.imageToken),
      "multimodal_projector_bias": .bool(vision.adapterBias),
      "projector_hidden_act": "gelu", "vision_feature_layer": .integer(-1),
      "vision_feature_select_strategy": "full",
      "tie_word_embeddings": .bool(false), "torch_dtype": "bfloat16",
      "bos_token_id": begin, "eos_token_id": end, "pad_token_id": padding,
      "text_config": text, "vision_config": visual,
    ]
  }
}
