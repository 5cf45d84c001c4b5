import Foundation
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

/// Keys with which mistral_inference 1.6.0, vLLM or transformers compute something else than Pixtral.
@Suite("params.json of other models")
struct OtherModelTests {
  private func parse(text: String, vision: String) throws -> ParametersFile {
    let json = smallParameters.replacingOccurrences(of: "\"dim\": 4", with: "\"dim\": 4\(text)")
      .replacingOccurrences(of: "\"patch_size\": 2", with: "\"patch_size\": 2\(vision)")
    let file = try ParametersFile(
      mistral: JSON(parsing: json, place: "params.json"), place: "params.json")
    _ = try file.checked()
    return file
  }

  @Test(
    "A key that means another decoder is refused",
    arguments: [
      ("sliding_window", "4096"), ("sliding_window", "[null, 4096]"), ("_sliding_window", "4096"),
      ("moe", #"{"num_experts": 8}"#), ("lora", #"{"rank": 8}"#),
      ("quantization", #"{"qformat_weight": "fp8_e4m3"}"#),
      ("tied_embeddings", "true"), ("model_type", "\"mamba\""), ("activation", "\"gelu\""),
      ("causal", "false"),
      ("multimodal", #"{"whisper_model_args": {}}"#),
      ("yarn", #"{"factor": 4, "beta": 32, "alpha": 1, "original_max_position_embeddings": 8192}"#),
      ("llama_4_scaling", #"{"beta": 0.1}"#), ("rope_scaling", #"{"rope_type": "linear", "factor": 2}"#),
      ("rope_parameters", #"{"rope_type": "yarn"}"#), ("qk_nope_head_dim", "64"), ("qk_rope_head_dim", "64"),
      ("q_lora_rank", "1024"), ("kv_lora_rank", "256"), ("v_head_dim", "4"), ("attention_bias", "true"),
      ("mlp_bias", "true"), ("partial_rotary_factor", "0.5"), ("tie_word_embeddings", "true"),
      ("hidden_act", "\"gelu\""), ("final_logit_softcapping", "30.0"),
      ("layer_types", "[\"sliding_attention\"]"),
      ("ada_rms_norm_t_cond", "true"), ("quantization_config", "{}"), ("moe", "false"),
    ])
  func decoders(key: String, value: String) throws {
    let error = try refusal { try parse(text: ", \"\(key)\": \(value)", vision: "") }
    #expect(error.place == "params.json, \(key)")
    #expect(error.expected.contains("Pixtral has no"))
  }

  @Test(
    "A key that means another vision encoder is refused",
    arguments: [
      ("spatial_merge_size", "2"), ("add_pre_mm_projector_layer_norm", "true"),
      ("mm_projector_id", "\"patch_merge\""),
      ("hidden_act", "\"gelu\""), ("attention_bias", "true"), ("causal", "true"), ("sliding_window", "16"),
      ("rope_scaling", #"{"type": "dynamic"}"#), ("head_dim", "4"), ("norm_eps", "1e-6"),
    ])
  func visionEncoders(key: String, value: String) throws {
    let error = try refusal { try parse(text: "", vision: ", \"\(key)\": \(value)") }
    #expect(error.place == "params.json, vision_encoder, \(key)")
    #expect(error.expected.contains("Pixtral has no"))
  }

  @Test(
    "A value that means Pixtral is accepted without a word",
    arguments: [
      ("tied_embeddings", "false"), ("tied_embeddings", "null"), ("causal", "true"), ("causal", "null"),
      ("activation", "\"silu\""), ("activation", "null"), ("hidden_act", "\"silu\""),
      ("sliding_window", "null"),
      ("moe", "null"), ("yarn", "null"), ("llama_4_scaling", "null"), ("multimodal", "null"),
      ("model_type", "null"),
      ("model_type", "\"transformer\""), ("attention_bias", "false"),
      ("rope_scaling", #"{"rope_type": "default"}"#),
      ("qk_nope_head_dim", "null"), ("v_head_dim", "2"), ("partial_rotary_factor", "1.0"),
      ("max_seq_len", "null"),
      ("quantization", "null"), ("lora", "null"),
    ])
  func decoderAsPixtral(key: String, value: String) throws {
    #expect(try parse(text: ", \"\(key)\": \(value)", vision: "").unknownKeys.isEmpty)
  }

  @Test(
    "A value that means Pixtral's vision encoder is accepted without a word",
    arguments: [
      ("spatial_merge_size", "1"), ("spatial_merge_size", "null"), ("mm_projector_id", "\"\""),
      ("mm_projector_id", "null"), ("add_pre_mm_projector_layer_norm", "false"), ("hidden_act", "\"silu\""),
      ("head_dim", "2"), ("norm_eps", "1e-05"), ("max_image_size", "null"), ("causal", "false"),
    ])
  func visionEncoderAsPixtral(key: String, value: String) throws {
    #expect(try parse(text: "", vision: ", \"\(key)\": \(value)").unknownKeys.isEmpty)
  }

  @Test("The sentence names the values that would do")
  func sentence() throws {
    let error = try refusal { try parse(text: ", \"activation\": \"gelu\"", vision: "") }
    #expect(
      "\(error)"
        == #"params.json, activation: expected "silu", null or no such key: Pixtral has no other, found "gelu""#
    )
  }
}
