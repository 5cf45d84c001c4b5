/// The two ways in which a Pixtral is stored.
package enum CheckpointLayout: String, Sendable, CaseIterable {
  /// `params.json` and `consolidated.safetensors`.
  case mistral
  /// `config.json` and `model.safetensors`, for transformers' LlavaForConditionalGeneration and
  /// what reads the same.
  case hf

  /// The file with the hyper-parameters.
  var parametersName: String { self == .mistral ? "params.json" : "config.json" }

  /// What the names of safetensors files begin with.
  var stem: String { self == .mistral ? "consolidated" : "model" }

  /// The weights in one file.
  var weightsName: String { "\(stem).safetensors" }

  /// The index of weights in several files.
  var indexName: String { "\(stem).safetensors.index.json" }
}
