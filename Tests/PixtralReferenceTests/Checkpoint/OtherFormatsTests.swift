import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Weights that are not read")
struct OtherFormatsTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test(arguments: [
    (#"{"quant_method": "fp8", "activation_scheme": "static"}"#, "FP8"),
    (#"{"quant_method": "gptq", "bits": 4}"#, "GPTQ"), (#"{"quant_method": "awq"}"#, "AWQ"),
    (#"{"quant_method": "bitsandbytes", "load_in_4bit": true}"#, "bitsandbytes"),
    (#"{"load_in_8bit": true}"#, "bitsandbytes"),
    (#"{"quant_method": "compressed-tensors"}"#, "compressed-tensors"),
    (#"{"quant_method": "hqq"}"#, "hqq"),
  ])
  func aConfigurationSaysByWhatTheWeightsAreQuantised(config: String, method: String) throws {
    let config = smallConfig.replacing(
      #""model_type": "llava""#, with: #""model_type": "llava", "quantization_config": \#(config)"#)
    let error = try refusal { try Checkpoint(smallHuggingFaceCheckpoint(in: folder, config: config)) }
    #expect(error.found == "weights quantised by \(method): config.json has quantization_config")
    #expect(error.advice == "quantised weights are not read; give the checkpoint that they were made from")
  }

  @Test func parametersOfMistralSayItToo() throws {
    let parameters = smallParameters.replacing(
      #""dim": 4"#, with: #""dim": 4, "quantization": {"qformat_weight": "fp8_e4m3"}"#)
    let error = try refusal { try Checkpoint(smallCheckpoint(in: folder, parameters: parameters)) }
    #expect(error.found == "weights quantised by FP8: params.json has quantization")
  }

  @Test(arguments: [
    ("mlp.gate_proj.qweight", "I32", "AWQ or GPTQ"), ("mlp.gate_proj.weight.absmax", "F32", "bitsandbytes"),
    ("mlp.gate_proj.weight.quant_state.bitsandbytes__nf4", "U8", "bitsandbytes"),
    ("mlp.gate_proj.SCB", "F32", "bitsandbytes"),
    ("mlp.gate_proj.weight_packed", "I32", "compressed-tensors"),
    ("mlp.gate_proj.weight_scale", "F32", "scales"),
    ("mlp.gate_proj.weight_scale_inv", "F32", "scales"),
  ])
  func tensorsShowByWhatTheyAreQuantised(name: String, type: String, method: String) throws {
    let error = try refusal {
      try Checkpoint(
        smallHuggingFaceCheckpoint(in: folder) {
          $0.tensors.append((name, type, [1], [UInt8](repeating: 0, count: type == "U8" ? 1 : 4)))
        })
    }
    #expect(error.found == "weights quantised by \(method): there is a tensor \(name)")
  }

  @Test func theGroupIndexIsGPTQs() throws {
    let error = try refusal {
      try Checkpoint(
        smallHuggingFaceCheckpoint(in: folder) {
          for name in ["a.g_idx", "a.qweight"] { $0.tensors.append((name, "I32", [1], [0, 0, 0, 0])) }
        })
    }
    #expect(error.found.hasPrefix("weights quantised by GPTQ: "))
  }

  @Test func eightBitFloatsAreFP8() throws {
    let error = try refusal {
      try Checkpoint(
        smallCheckpoint(in: folder) { file in
          let n = file.tensors.firstIndex { $0.name == "layers.0.feed_forward.w1.weight" }!
          file.tensors[n].dtype = "F8_E4M3"
          file.tensors[n].bytes = [UInt8](repeating: 0x38, count: 24)
        })
    }
    #expect(error.found == "weights quantised by FP8: tensor layers.0.feed_forward.w1.weight is of F8_E4M3")
  }

  @Test(arguments: ["quantize_config.json", "quant_config.json", "hf_quant_config.json"])
  func aFileBesideTheWeightsSaysIt(name: String) throws {
    try folder.write(name, "{}")
    let error = try refusal { try Checkpoint(smallHuggingFaceCheckpoint(in: folder)) }
    #expect(error.found.hasSuffix(": \(name) stands beside them"))
  }

  @Test func aGGUFFileIsNamedAsThat() throws {
    let file = try folder.write("model-Q4_K_M.gguf", Array("GGUF".utf8) + [3, 0, 0, 0])
    let error = try refusal { try Checkpoint(file) }
    #expect(error.found == "a GGUF file")
    #expect(error.advice == "GGUF is not read; give the checkpoint that it was made from")
    #expect(try refusal { try Checkpoint(folder.path) }.found == "model-Q4_K_M.gguf, GGUF, which is not read")
  }

  @Test func aFileOfWeightsIsNotTakenForItsFolder() throws {
    let path = try smallCheckpoint(in: folder)
    let error = try refusal { try Checkpoint("\(path)/consolidated.safetensors") }
    #expect(error.advice == "give the folder that it is in")
  }

  @Test func shardsWithoutAnIndexAreSaidToBeThat() throws {
    try folder.write("config.json", smallConfig)
    try folder.write("model-00001-of-00002.safetensors", TensorFile().bytes)
    #expect(try refusal { try Checkpoint(folder.path) }.found == "shards without their index")
  }
}
