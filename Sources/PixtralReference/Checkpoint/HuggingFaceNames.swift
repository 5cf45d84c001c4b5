/// A tensor's name in the Hugging Face layout.
func huggingFaceName(_ name: String) -> String {
  if let other = outsideOfLayers[name] { return other }
  let isVision = name.hasPrefix("vision_encoder.")
  let rest = name.dropFirst((isVision ? "vision_encoder.transformer.layers." : "layers.").count)
  let dot = rest.firstIndex(of: ".")!
  let module = modulesOfLayers.first(where: { rest[dot...] == ".\($0.mistral).weight" })!
  return isVision
    ? "vision_tower.transformer.layers.\(rest[..<dot]).\(module.vision).weight"
    : "language_model.model.layers.\(rest[..<dot]).\(module.decoder).weight"
}

private let outsideOfLayers = [
  "vision_encoder.patch_conv.weight": "vision_tower.patch_conv.weight",
  "vision_encoder.ln_pre.weight": "vision_tower.ln_pre.weight",
  "vision_language_adapter.w_in.weight": "multi_modal_projector.linear_1.weight",
  "vision_language_adapter.w_in.bias": "multi_modal_projector.linear_1.bias",
  "vision_language_adapter.w_out.weight": "multi_modal_projector.linear_2.weight",
  "vision_language_adapter.w_out.bias": "multi_modal_projector.linear_2.bias",
  "tok_embeddings.weight": "language_model.model.embed_tokens.weight",
  "norm.weight": "language_model.model.norm.weight",
  "output.weight": "language_model.lm_head.weight",
]

private let modulesOfLayers: [(mistral: String, vision: String, decoder: String)] = [
  ("attention_norm", "attention_norm", "input_layernorm"),
  ("attention.wq", "attention.q_proj", "self_attn.q_proj"),
  ("attention.wk", "attention.k_proj", "self_attn.k_proj"),
  ("attention.wv", "attention.v_proj", "self_attn.v_proj"),
  ("attention.wo", "attention.o_proj", "self_attn.o_proj"),
  ("ffn_norm", "ffn_norm", "post_attention_layernorm"),
  ("feed_forward.w1", "feed_forward.gate_proj", "mlp.gate_proj"),
  ("feed_forward.w2", "feed_forward.down_proj", "mlp.down_proj"),
  ("feed_forward.w3", "feed_forward.up_proj", "mlp.up_proj"),
]

/// A tensor's name in Mistral's layout, from its name in any generation of transformers' LLaVA classes; nil
/// for what is no tensor of a Pixtral.
///
/// - `language_model.model.…`, `language_model.lm_head.…`, `vision_tower.…`: as files have them to this day.
/// - `model.language_model.…`, `lm_head.…`, `model.vision_tower.…`: as modules are named from 4.52 on, and
///   files that were written from a state dict of such modules.
/// - `language_model.…`: of LlavaModel, without the head.
func mistralName(huggingFace name: String) -> String? {
  var name = Substring(name)
  if name == "lm_head.weight" { return "output.weight" }
  if name.hasPrefix("model.") { name = name.dropFirst("model.".count) }
  if name.hasPrefix("language_model.") {
    name = name.dropFirst("language_model.".count)
    if name == "lm_head.weight" { return "output.weight" }
    if name.hasPrefix("model.") { name = name.dropFirst("model.".count) }
    name = "language_model.model." + name
  }
  if let other = insideOfMistral[String(name)] { return other }
  for (prefix, mistral) in [
    ("vision_tower.transformer.layers.", "vision_encoder.transformer.layers."),
    ("language_model.model.layers.", "layers."),
  ] where name.hasPrefix(prefix) {
    let rest = name.dropFirst(prefix.count)
    guard let dot = rest.firstIndex(of: "."), let number = Int(rest[..<dot]), "\(number)" == rest[..<dot]
    else {
      return nil
    }
    let module = modulesOfLayers.first {
      rest[dot...] == ".\(prefix.hasPrefix("vision") ? $0.vision : $0.decoder).weight"
    }
    return module.map { "\(mistral)\(number).\($0.mistral).weight" }
  }
  return nil
}

/// Whether a name is that of frequencies, which releases of transformers before 4.32 stored, and which
/// follow from the parameters.
func isStoredFrequency(_ name: String) -> Bool { name.hasSuffix(".inv_freq") }

private let insideOfMistral = Dictionary(uniqueKeysWithValues: outsideOfLayers.map { ($1, $0) })
