import PixtralStorage

// Weights that are not read: each is recognised, and said in one sentence what it is.

/// A path that is no folder.
func noFolder(_ path: String) -> InputError {
  let format = (try? MappedFile(plain: path))?.withBytes { FileFormat(of: $0)?.name ?? "a file" }
  let advice =
    switch format {
    case "a GGUF file": "GGUF is not read; give the checkpoint that it was made from"
    case "a safetensors file": "give the folder that it is in"
    default: ""
    }
  return InputError(
    .unreadableFile, path,
    expected: "a folder with a checkpoint in Mistral's or Hugging Face's layout, or seeded:tiny",
    found: format ?? "no such folder", advice: advice)
}

/// What weights there are in a folder that are in no layout of safetensors; nil if none.
func foreignWeights(_ names: [String]) -> String? {
  let kinds: [(glob: String, name: String)] = [
    ("*.gguf", "GGUF"), ("pytorch_model*.bin", "a PyTorch pickle"), ("*.pth", "a PyTorch pickle"),
    ("*.pt", "a PyTorch pickle"), ("*.ckpt", "a PyTorch pickle"), ("*.npz", "NumPy arrays"),
    ("*.onnx", "ONNX"), ("*.h5", "HDF5"), ("*.msgpack", "Flax"), ("openvino_model.bin", "OpenVINO"),
  ]
  for (glob, kind) in kinds {
    if let name = names.first(where: { $0.matches(glob: glob) }) {
      return "\(name), \(kind), which is not read"
    }
  }
  return nil
}

/// Refuses a folder whose parameters, or a file beside them, speak of quantised weights.
///
/// - Throws: `InputError` of kind `wrongTensors`; of another if the parameters are no JSON.
func refuseQuantised(_ folder: String, _ names: [String], _ parametersPath: String) throws {
  let json = try JSON(file: parametersPath)
  let inside = ["text_config", "vision_config", "llm_config"].compactMap { json[$0] }
  for section in [json] + inside {
    for key in ["quantization_config", "quantization", "compression_config"] {
      guard let value = section[key], value != .null else { continue }
      throw quantised(folder, method(value), "\(fileName(of: parametersPath)) has \(key)")
    }
  }
  let beside = [
    ("quantize_config.json", "GPTQ or AWQ"), ("quant_config.json", "AWQ"),
    ("hf_quant_config.json", "ModelOpt"),
  ]
  for (name, method) in beside where names.contains(name) {
    throw quantised(folder, method, "\(name) stands beside them")
  }
}

/// Refuses files with tensors of quantised weights.
///
/// - Throws: `InputError` of kind `wrongTensors`.
func refuseQuantised(_ folder: String, _ files: [Safetensors]) throws {
  let names = files.lazy.flatMap { $0.tensors.lazy.map(\.name) }
  func first(_ ends: [String]) -> String? {
    names.first { name in ends.contains { name.hasSuffix($0) } }
  }
  if let name = names.first(where: { $0.contains(".quant_state.bitsandbytes") })
    ?? first([".absmax", ".quant_map", ".SCB"])
  {
    throw quantised(folder, "bitsandbytes", "there is a tensor \(name)")
  }
  if let name = first([".qweight"]) {
    let method = first([".g_idx"]) != nil ? "GPTQ" : "AWQ or GPTQ"
    throw quantised(folder, method, "there is a tensor \(name)")
  }
  if let name = first([".weight_packed", ".weight_shape"]) {
    throw quantised(folder, "compressed-tensors", "there is a tensor \(name)")
  }
  if let tensor = files.lazy.flatMap(\.tensors).first(where: { $0.typeName.hasPrefix("F8_") }) {
    throw quantised(folder, "FP8", "tensor \(tensor.name) is of \(tensor.typeName)")
  }
  let scales = [".weight_scale", ".weight_scale_inv", ".qscale_weight", ".qscale_act", ".input_scale"]
  if let name = first(scales) { throw quantised(folder, "scales", "there is a tensor \(name)") }
}

/// The name of a method as people write it.
private func method(_ config: JSON) -> String {
  let name = (config["quant_method"] ?? config["qformat_weight"] ?? config["quant_algo"])?.plainText ?? ""
  let known: [(part: String, name: String)] = [
    ("fp8", "FP8"), ("gptq", "GPTQ"), ("awq", "AWQ"), ("bitsandbytes", "bitsandbytes"),
    ("compressed", "compressed-tensors"),
  ]
  if let known = known.first(where: { name.lowercased().contains($0.part) }) { return known.name }
  if config["load_in_4bit"] != nil || config["load_in_8bit"] != nil { return "bitsandbytes" }
  return name.isEmpty ? "a method that it does not name" : name
}

private func quantised(_ folder: String, _ method: String, _ sign: String) -> InputError {
  InputError(
    .wrongTensors, folder, expected: "weights of \(DType.allCases.map(\.rawValue).joined(separator: ", "))",
    found: "weights quantised by \(method): \(sign)",
    advice: "quantised weights are not read; give the checkpoint that they were made from")
}
