import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

@Suite("config.json")
struct HuggingFaceParametersTests {
  private func read(_ text: String) throws -> ParametersFile {
    try ParametersFile(huggingFace: JSON(parsing: text, place: "config.json"), place: "config.json")
  }

  /// With a piece of the text replaced, which must be there.
  private func edited(_ old: String, _ new: String) throws -> ParametersFile {
    try #require(smallConfig.contains(old))
    return try read(smallConfig.replacing(old, with: new))
  }

  @Test func everyKeyIsReadToItsPlace() throws {
    let file = try read(smallConfig)
    let mistral = try Parameters(JSON(parsing: smallParameters, place: ""), place: "")
    #expect(try file.checked() == mistral)
    #expect(file.unknownKeys.isEmpty)
    #expect(file.defaults.isEmpty)
  }

  @Test(arguments: [
    (#""rope_theta": 1000000.0"#, #""rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}"#),
    (
      #""rope_theta": 1000000.0"#,
      #""rope_theta": 1000000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}"#
    ),
    (#""rope_theta": 1000000.0"#, #""rope_theta": 1000000.0, "rope_scaling": null"#),
    (#""rope_theta": 1000000.0"#, #""rope_theta": 1e6, "rope_parameters": {"rope_type": "default"}"#),
    (#""rope_theta": 10000.0"#, #""rope_parameters": {"rope_type": "axial", "rope_theta": 10000.0}"#),
    (#""torch_dtype": "float32""#, #""dtype": "float32""#),
    (#""image_token_index": 10"#, #""image_token_id": 10"#),
    (#""image_size": 8, "patch_size": 2"#, #""image_size": [8, 8], "patch_size": [2, 2]"#),
    (#""vision_feature_layer": -1"#, #""vision_feature_layer": 1"#),
    (#""vision_feature_layer": -1"#, #""vision_feature_layer": [-1]"#),
    (#""sliding_window": null"#, #""sliding_window": null, "layer_types": ["full_attention"]"#),
    (#""model_type": "mistral""#, #""model_type": "llama""#),
    (#""hidden_act": "silu""#, #""hidden_act": "silu", "head_dim": 2, "is_composition": true"#),
  ])
  func configurationsOfEveryAgeSayTheSame(old: String, new: String) throws {
    let file = try edited(old, new)
    #expect(try file.checked() == read(smallConfig).parameters)
    #expect(file.unknownKeys.isEmpty)
    #expect(file.defaults.isEmpty)
  }

  @Test(arguments: [
    (#""rms_norm_eps": 1e-05,"#, "text_config, rms_norm_eps", "1e-06"),
    (#", "rope_theta": 1000000.0"#, "text_config, rope_theta", "10000.0"),
    (#""rope_theta": 10000.0,"#, "vision_config, rope_theta", "10000.0"),
    (#""num_channels": 3, "#, "vision_config, num_channels", "3"),
    (#""num_attention_heads": 2, "num_key"#, "text_config, num_attention_heads", "32"),
  ])
  func aMissingNumberIsWhatTransformersTakesAndIsWarnedOf(text: String, key: String, value: String) throws {
    let file = try edited(text, text.contains("num_key") ? #""num_key"# : "")
    #expect(file.defaults.map(\.place) == ["config.json, \(key)"])
    #expect(file.warnings == ["config.json, \(key): no such key; \(value) is taken, as transformers does"])
  }

  @Test func aMissingBiasFlagMeansThatThereAreBiases() throws {
    let file = try edited(#""multimodal_projector_bias": false, "#, "")
    #expect(file.parameters.vision.adapterBias)
    #expect(file.defaults.map(\.place) == ["config.json, multimodal_projector_bias"])
  }

  @Test(arguments: [
    (#", "hidden_act": "silu""#, "", "vision_config, hidden_act"),
    (#""hidden_act": "silu""#, #""hidden_act": "gelu""#, "vision_config, hidden_act"),
    (#""model_type": "pixtral", "#, "", "vision_config, model_type"),
    (#""model_type": "mistral", "#, "", "text_config, model_type"),
    (#", "sliding_window": null"#, "", "text_config, sliding_window"),
    (#""sliding_window": null"#, #""sliding_window": 4096"#, "text_config, sliding_window"),
    (#""vision_feature_layer": -1, "#, "", "vision_feature_layer"),
    (#""vision_feature_layer": -1"#, #""vision_feature_layer": -2"#, "vision_feature_layer"),
    (#", "vision_feature_select_strategy": "full""#, "", "vision_feature_select_strategy"),
    (
      #""projector_hidden_act": "gelu""#, #""projector_hidden_act": "gelu_pytorch_tanh""#,
      "projector_hidden_act"
    ),
    (
      #""model_type": "llava""#, #""model_type": "llava", "tie_word_embeddings": true"#, "tie_word_embeddings"
    ),
    (
      #""model_type": "mistral""#, #""model_type": "mistral", "tie_word_embeddings": true"#,
      "text_config, tie_word_embeddings"
    ),
    (
      #""sliding_window": null"#,
      #""sliding_window": null, "rope_scaling": {"type": "linear", "factor": 2.0}"#,
      "text_config, rope_scaling, type"
    ),
    (
      #""sliding_window": null"#, #""sliding_window": null, "rope_parameters": {"rope_theta": 1e9}"#,
      "text_config, rope_theta"
    ),
    (
      #""sliding_window": null"#, #""sliding_window": null, "attention_bias": true"#,
      "text_config, attention_bias"
    ),
    (
      #""sliding_window": null"#, #""sliding_window": null, "layer_types": ["sliding_attention"]"#,
      "text_config, layer_types"
    ),
    (#""hidden_act": "silu""#, #""hidden_act": "silu", "head_dim": 4"#, "vision_config, head_dim"),
    (#""model_type": "llava""#, #""model_type": "mistral3""#, "model_type"),
    (#""head_dim": 2"#, #""head_dim": 3"#, "text_config, head_dim"),
    (#""num_key_value_heads": 1"#, #""num_key_value_heads": 3"#, "text_config, num_attention_heads"),
    (#""image_size": 8"#, #""image_size": [8, 4]"#, "vision_config, image_size"),
  ])
  func whatWouldBeAnotherModelIsRefused(old: String, new: String, key: String) throws {
    let error = try refusal { try edited(old, new).checked() }
    #expect(error.kind == .wrongParameters)
    #expect(error.place == "config.json, \(key)")
  }

  @Test func theSentenceSaysWhatTheLibraryWouldTake() throws {
    let error = try refusal { try edited(#", "sliding_window": null"#, "").checked() }
    #expect(
      "\(error)"
        == "config.json, text_config, sliding_window: expected null: Pixtral has no other, "
        + "found no such key, for which transformers takes 4096")
  }

  @Test func aKeyThatNoRuleKnowsIsNamedWithItsObject() throws {
    #expect(
      try edited(#""model_type": "pixtral""#, #""model_type": "pixtral", "colour": 1"#).unknownKeys
        == ["vision_config, colour"])
  }
}
