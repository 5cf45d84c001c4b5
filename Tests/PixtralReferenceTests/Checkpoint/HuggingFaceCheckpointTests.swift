import Foundation
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Reading the Hugging Face layout")
struct HuggingFaceCheckpointTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test(arguments: [("seeded:tiny", 5000), ("seeded:tiny", 3), ("seeded:small", 20)])
  func everyTensorIsReadAsMistralsLayoutHasIt(model: String, megabytes: Int) throws {
    let seeded = try Checkpoint(model)
    try writeCheckpoint(
      seeded, layout: .hf, to: folder.path, shardBytes: megabytes * 1_000_000,
      tokenizer: "\(fixtures)/tokenizer/\(Tokenizer.fileName)")
    let read = try Checkpoint(folder.path)
    #expect(read.warnings.isEmpty)
    #expect(read.parameters == seeded.parameters)
    for (expected, tensor) in zip(seeded.tensors, read.tensors) where expected.rows < 1000 {
      let (a, b): ([Float], [Float]) = (expected.vector(), tensor.vector())
      #expect(a == b, "\(expected.name)")
    }
  }

  @Test func piecesOfRotaryRowsAreFoundWhereverTheyBegin() throws {
    try writeTiny(.hf)
    let (seeded, read) = (try Checkpoint("seeded:tiny"), try Checkpoint(folder.path))
    for name in ["layers.1.attention.wk.weight", "vision_encoder.transformer.layers.0.attention.wq.weight"] {
      for range in [0..<1, 79..<82, 1..<500, 777..<1800] {
        let (a, b): ([Float], [Float]) = (
          seeded.tensor(name).values(range), read.tensor(name).values(range)
        )
        #expect(a == b, "\(name) \(range)")
      }
    }
  }

  @Test func eachRotatedTensorHasItsOwnNumberOfHeads() throws {
    let parameters = try Checkpoint("seeded:tiny").parameters
    let vision = "vision_encoder.transformer.layers.0.attention"
    #expect(parameters.rotaryHeads(of: "layers.0.attention.wq.weight") == 6)
    #expect(parameters.rotaryHeads(of: "layers.0.attention.wk.weight") == 2)
    #expect(parameters.rotaryHeads(of: "layers.0.attention.wv.weight") == nil)
    #expect(parameters.rotaryHeads(of: "\(vision).wq.weight") == 5)
    #expect(parameters.rotaryHeads(of: "\(vision).wk.weight") == 5)
    #expect(parameters.rotaryHeads(of: "\(vision).wo.weight") == nil)
  }

  /// Six rows of one head: pairs (0,1) (2,3) (4,5) stand at (0,3) (1,4) (2,5).
  @Test func rowsOfAHalfSplitTensorComeInPairs() throws {
    var file = TensorFile()
    file.add("w", [6, 1], [0, 2, 4, 1, 3, 5])
    let stored = try Safetensors(folder.write("w.safetensors", file.bytes))
    let tensor = try StoredTensor(stored.tensors[0], of: stored.file).asAdjacentPairs(heads: 1)
    #expect(tensor.vector() as [Float] == [0, 1, 2, 3, 4, 5])
    #expect(tensor.values(1..<4) as [Double] == [1, 2, 3])
  }

  @Test func theDigestOfWhatARunUsesIsThatOfMistralsLayout() throws {
    let digests = try CheckpointLayout.allCases.map { layout in
      let folder = try TemporaryFolder()
      try writeCheckpoint(
        Checkpoint("seeded:tiny"), layout: layout, to: folder.path, shardBytes: 1 << 40,
        tokenizer: "\(fixtures)/tokenizer/\(Tokenizer.fileName)")
      let checkpoint = try Checkpoint(folder.path)
      for tensor in checkpoint.tensors { _ = checkpoint.tensor(tensor.name) }
      return checkpoint.digest()
    }
    #expect(digests[0] == digests[1])
  }

  @Test(arguments: ["", "model.", "base"])
  func everyGenerationOfNamesIsRead(generation: String) throws {
    let path = try smallHuggingFaceCheckpoint(in: folder) { file in
      for n in file.tensors.indices {
        let name = file.tensors[n].name
        switch (generation, name) {
        case ("", _): break
        case (_, "language_model.lm_head.weight"): file.tensors[n].name = "lm_head.weight"
        case ("model.", _):
          file.tensors[n].name =
            "model." + name.replacingOccurrences(of: "language_model.model.", with: "language_model.")
        default:
          file.tensors[n].name = name.replacingOccurrences(
            of: "language_model.model.", with: "language_model.")
        }
      }
    }
    #expect(try Checkpoint(path).tensors.count == 25)
  }

  @Test func everyNameThatIsWrittenIsReadBack() throws {
    for tensor in try Checkpoint("seeded:tiny").parameters.tensors {
      #expect(mistralName(huggingFace: huggingFaceName(tensor.name)) == tensor.name)
    }
  }

  @Test(arguments: [
    "language_model.model.layers.00.input_layernorm.weight", "language_model.model.layers.0.weight",
    "language_model.model.layers.0.attention.q_proj.weight", "vision_tower.norm.weight", "lm_head.bias",
    "model.",
    "vision_tower.transformer.layers..ffn_norm.weight",
  ])
  func whatIsNoTensorOfAPixtralHasNoNameInMistralsLayout(name: String) {
    #expect(mistralName(huggingFace: name) == nil)
  }

  @Test func aTensorUnderTwoNamesIsRefused() throws {
    let path = try smallHuggingFaceCheckpoint(in: folder) {
      $0.add("lm_head.weight", [20, 4], [Float](repeating: 0, count: 80))
    }
    let error = try refusal { try Checkpoint(path) }
    #expect(error.expected == "each tensor once")
    #expect(error.found == "it as language_model.lm_head.weight too")
  }

  @Test func aMissingTensorHasTheNameOfItsLayout() throws {
    let path = try smallHuggingFaceCheckpoint(in: folder) { file in
      file.tensors.removeAll { $0.name == "language_model.model.layers.0.self_attn.k_proj.weight" }
    }
    #expect(
      try refusal { try Checkpoint(path) }.place.hasSuffix(
        "tensor language_model.model.layers.0.self_attn.k_proj.weight"))
  }

  @Test func storedFrequenciesAreIgnoredWithAWord() throws {
    let path = try smallHuggingFaceCheckpoint(in: folder) {
      $0.add("language_model.model.layers.0.self_attn.rotary_emb.inv_freq", [1], [1])
    }
    #expect(
      try Checkpoint(path).warnings == ["\(path): 1 tensors inv_freq, which follow from rope_theta, ignored"])
  }

  @Test func ofAFolderOfBothLayoutsMistralsIsReadAndSaidToBe() throws {
    _ = try smallHuggingFaceCheckpoint(in: folder)
    let checkpoint = try Checkpoint(smallCheckpoint(in: folder))
    #expect(checkpoint.layout == .mistral)
    #expect(
      checkpoint.warnings
        == ["\(folder.path): both layouts are there; Mistral's is read, and config.json is not"])
  }

  @Test func aParamsJsonWithoutWeightsLeavesTheOtherLayout() throws {
    try folder.write("params.json", smallParameters)
    let checkpoint = try Checkpoint(smallHuggingFaceCheckpoint(in: folder))
    #expect(checkpoint.layout == .hf)
    #expect(checkpoint.warnings.count == 1)
  }

  @Test func oneFileBesideAnIndexOfOthersIsRefused() throws {
    let path = try smallHuggingFaceCheckpoint(in: folder)
    try folder.write("a.safetensors", TensorFile().bytes)
    try folder.write("model.safetensors.index.json", #"{"weight_map": {"x": "a.safetensors"}}"#)
    #expect(try refusal { try Checkpoint(path) }.found == "both")
  }

  private func writeTiny(_ layout: CheckpointLayout) throws {
    try writeCheckpoint(
      Checkpoint("seeded:tiny"), layout: layout, to: folder.path, shardBytes: 1 << 40,
      tokenizer: "\(fixtures)/tokenizer/\(Tokenizer.fileName)")
  }
}
