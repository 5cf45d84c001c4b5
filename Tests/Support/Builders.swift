import PixtralReference
import PixtralStorage

/// A safetensors file made by hand, so that tests can make broken ones too.
package struct TensorFile {
  package var tensors: [(name: String, dtype: String, shape: [Int], bytes: [UInt8])] = []

  package init() {}

  package mutating func add(_ name: String, _ shape: [Int], _ values: [Float]) {
    tensors.append(
      (name, "F32", shape, values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) }))
  }

  package mutating func addDoubles(_ name: String, _ shape: [Int], _ values: [Double]) {
    tensors.append(
      (name, "F64", shape, values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) }))
  }

  package var header: String {
    var offset = 0
    let entries = tensors.map { tensor in
      defer { offset += tensor.bytes.count }
      return
        #""\#(tensor.name)":{"dtype":"\#(tensor.dtype)","shape":\#(tensor.shape),"data_offsets":[\#(offset),\#(offset + tensor.bytes.count)]}"#
    }
    return "{\(entries.joined(separator: ","))}"
  }

  package var bytes: [UInt8] { Self.bytes(header: header, data: tensors.flatMap(\.bytes)) }

  package static func bytes(header: String, data: [UInt8]) -> [UInt8] {
    withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian, Array.init) + Array(header.utf8) + data
  }
}

/// The smallest model with every feature: 2 heads on 1 key-value head, patches of 2 pixels, a vocabulary of 20.
package let smallParameters = """
  {"dim": 4, "n_layers": 1, "head_dim": 2, "hidden_dim": 6, "n_heads": 2, "n_kv_heads": 1, "norm_eps": 1e-5,
   "vocab_size": 20, "rope_theta": 1e6,
   "vision_encoder": {"hidden_size": 4, "num_channels": 3, "image_size": 8, "patch_size": 2, "intermediate_size": 6,
     "num_hidden_layers": 1, "num_attention_heads": 2, "rope_theta": 1e4, "image_token_id": 10, "adapter_bias": false}}
  """

/// A checkpoint of that model in a folder; `edit` may spoil its tensors first.
package func smallCheckpoint(
  in folder: TemporaryFolder, parameters: String = smallParameters,
  _ edit: (inout TensorFile) -> Void = { _ in }
) throws -> String {
  try folder.write("params.json", parameters)
  var file = smallTensors()
  edit(&file)
  try folder.write("consolidated.safetensors", file.bytes)
  return folder.path
}

/// Every tensor of the small model, named and shaped by hand from Docs/Model.md, section 2.
package func smallTensors() -> TensorFile {
  var file = TensorFile()
  func add(_ name: String, _ shape: [Int]) {
    let count = shape.reduce(1, *)
    file.add(name, shape, (0..<count).map { Float(($0 * 7 + name.utf8.count) % 11) / 8 - 0.5 })
  }
  func addLayer(_ prefix: String, queries: Int, keys: Int) {
    add("\(prefix).attention_norm.weight", [4])
    add("\(prefix).ffn_norm.weight", [4])
    add("\(prefix).attention.wq.weight", [queries, 4])
    add("\(prefix).attention.wk.weight", [keys, 4])
    add("\(prefix).attention.wv.weight", [keys, 4])
    add("\(prefix).attention.wo.weight", [4, queries])
    add("\(prefix).feed_forward.w1.weight", [6, 4])
    add("\(prefix).feed_forward.w2.weight", [4, 6])
    add("\(prefix).feed_forward.w3.weight", [6, 4])
  }
  add("vision_encoder.patch_conv.weight", [4, 3, 2, 2])
  add("vision_encoder.ln_pre.weight", [4])
  addLayer("vision_encoder.transformer.layers.0", queries: 4, keys: 4)
  add("vision_language_adapter.w_in.weight", [4, 4])
  add("vision_language_adapter.w_out.weight", [4, 4])
  add("tok_embeddings.weight", [20, 4])
  addLayer("layers.0", queries: 4, keys: 2)
  add("norm.weight", [4])
  add("output.weight", [20, 4])
  return file
}

/// The small model's config.json, as transformers 4.45 would write it.
package let smallConfig = """
  {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"], "image_token_index": 10,
   "multimodal_projector_bias": false, "projector_hidden_act": "gelu", "torch_dtype": "float32",
   "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
   "text_config": {"model_type": "mistral", "hidden_size": 4, "num_hidden_layers": 1, "head_dim": 2,
     "intermediate_size": 6, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-05,
     "vocab_size": 20, "rope_theta": 1000000.0, "sliding_window": null},
   "vision_config": {"model_type": "pixtral", "hidden_size": 4, "num_channels": 3, "image_size": 8, "patch_size": 2,
     "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2,
     "rope_theta": 10000.0, "hidden_act": "silu"}}
  """

/// The small checkpoint in Hugging Face's layout. (Its heads have two columns: half-split order is that of
/// adjacent pairs.)
package func smallHuggingFaceCheckpoint(
  in folder: TemporaryFolder, config: String = smallConfig, _ edit: (inout TensorFile) -> Void = { _ in }
) throws -> String {
  try folder.write("config.json", config)
  var file = smallTensors()
  for n in file.tensors.indices { file.tensors[n].name = huggingFaceNameByHand(file.tensors[n].name) }
  edit(&file)
  try folder.write("model.safetensors", file.bytes)
  return folder.path
}

/// By the names of transformers' modules, one replacement after the other.
private func huggingFaceNameByHand(_ name: String) -> String {
  let isVision = name.hasPrefix("vision_encoder.")
  var words = [
    ("attention.wq", isVision ? "attention.q_proj" : "self_attn.q_proj"),
    ("attention.wk", isVision ? "attention.k_proj" : "self_attn.k_proj"),
    ("attention.wv", isVision ? "attention.v_proj" : "self_attn.v_proj"),
    ("attention.wo", isVision ? "attention.o_proj" : "self_attn.o_proj"),
    ("feed_forward.w1", isVision ? "feed_forward.gate_proj" : "mlp.gate_proj"),
    ("feed_forward.w2", isVision ? "feed_forward.down_proj" : "mlp.down_proj"),
    ("feed_forward.w3", isVision ? "feed_forward.up_proj" : "mlp.up_proj"),
    ("vision_encoder.", "vision_tower."),
    ("vision_language_adapter.w_in", "multi_modal_projector.linear_1"),
    ("vision_language_adapter.w_out", "multi_modal_projector.linear_2"),
    ("tok_embeddings", "language_model.model.embed_tokens"),
  ]
  if name == "norm.weight" { return "language_model.model.norm.weight" }
  if name == "output.weight" { return "language_model.lm_head.weight" }
  if name.hasPrefix("layers.") {
    words += [
      ("layers.0", "language_model.model.layers.0"), ("attention_norm", "input_layernorm"),
      ("ffn_norm", "post_attention_layernorm"),
    ]
  }
  return words.reduce(name) { $0.replacing($1.0, with: $1.1) }
}
