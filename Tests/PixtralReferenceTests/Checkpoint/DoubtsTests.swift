import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Doubts about a checkpoint")
struct DoubtsTests {
  /// The parameters of the full shape in both layouts, an object changed.
  private func doubts(_ layout: CheckpointLayout, _ edit: (inout Keys) -> Void) throws -> [Doubt] {
    let large = try #require(SeededModel.all["seeded:pixtral-large"])
    var keys = Keys(json: layout == .mistral ? large.json : large.huggingFaceConfig)
    edit(&keys)
    let file =
      switch layout {
      case .mistral: try ParametersFile(mistral: keys.json, place: "params.json")
      case .hf: try ParametersFile(huggingFace: keys.json, place: "config.json")
      }
    return file.doubts
  }

  @Test(arguments: CheckpointLayout.allCases)
  func pixtralLargeAsItIsWrittenRaisesNone(layout: CheckpointLayout) throws {
    #expect(try doubts(layout) { _ in }.isEmpty)
  }

  @Test(arguments: [
    ("rope_theta", JSON.number(1e9)), ("rope_theta", .number(1e4)), ("norm_eps", .number(1e-6)),
    ("vision_encoder.rope_theta", .number(1e6)), ("vision_encoder.adapter_bias", .bool(true)),
    ("vision_encoder.image_break_token_id", .integer(12)),
    ("vision_encoder.image_end_token_id", .integer(13)),
    ("vision_encoder.hidden_act", "gelu"), ("tied_embeddings", .bool(true)), ("dim", .integer(5120)),
    ("n_layers", .integer(40)), ("vision_encoder.hidden_size", .integer(1024)),
    ("vocab_size", .integer(32_064)),
  ])
  func aKeyOfParamsJsonIsNamedWithWhatIsThere(key: String, value: JSON) throws {
    let doubts = try doubts(.mistral) { $0[key] = value }
    #expect(doubts.map(\.key) == [key])
    #expect(doubts.map(\.found) == [value])
    #expect(doubts.allSatisfy { !$0.why.isEmpty })
  }

  @Test(arguments: [
    ("text_config.rms_norm_eps", JSON.number(1e-6)), ("vision_config.hidden_act", "gelu"),
    ("multimodal_projector_bias", .bool(true)), ("text_config.hidden_size", .integer(5120)),
    ("vision_config.num_hidden_layers", .integer(24)), ("tie_word_embeddings", .bool(true)),
    ("text_config.tie_word_embeddings", .bool(true)), ("projector_hidden_act", "gelu_pytorch_tanh"),
    ("torch_dtype", "float16"), ("vision_feature_layer", .integer(-2)),
    ("image_token_index", .integer(32_000)),
    ("text_config.sliding_window", .integer(4096)),
  ])
  func aKeyOfConfigJsonIsNamedWithWhatIsThere(key: String, value: JSON) throws {
    let doubts = try doubts(.hf) { $0[key] = value }
    #expect(doubts.map(\.key) == [key])
    #expect(doubts.map(\.found) == [value])
  }

  @Test(arguments: [
    "text_config.rms_norm_eps", "vision_config.hidden_act", "text_config.hidden_act", "projector_hidden_act",
    "multimodal_projector_bias", "text_config.sliding_window", "vision_config.rope_theta",
    "image_token_index",
    "vision_feature_layer", "vision_config.num_channels", "text_config.head_dim",
  ])
  func aMissingKeyOfConfigJsonIsNamed(key: String) throws {
    let doubts = try doubts(.hf) { $0[key] = nil }
    #expect(doubts.map(\.key) == [key])
    #expect(doubts.map(\.found) == [.null])
  }

  @Test(arguments: [
    "vision_encoder.adapter_bias", "vision_encoder.image_break_token_id", "vision_encoder.image_end_token_id",
  ])
  func aMissingKeyOfParamsJsonIsNamed(key: String) throws {
    #expect(try doubts(.mistral) { $0[key] = nil }.map(\.key) == [key])
  }

  @Test func theBaseOfRotationIsNamedWhereItStands() throws {
    let flat = try doubts(.hf) {
      $0["text_config.rope_parameters"] = nil
      $0["text_config.rope_theta"] = .number(1e9)
    }
    #expect(flat.map(\.key) == ["text_config.rope_theta"])
    let nested = try doubts(.hf) {
      $0["text_config.rope_theta"] = nil
      $0["text_config.rope_parameters"] = ["rope_type": "default", "rope_theta": .number(1e9)]
    }
    #expect(nested.map(\.key) == ["text_config.rope_parameters.rope_theta"])
    #expect(nested.map(\.expected) == [.number(1e6)])
    #expect(nested.map(\.why) == ["it is Pixtral 12B's"])
    let missing = try doubts(.hf) {
      $0["text_config.rope_theta"] = nil
      $0["text_config.rope_parameters"] = nil
    }
    #expect(missing.map(\.key) == ["text_config.rope_theta"])
  }

  @Test func twoBasesThatContradictEachOtherAreOneDoubt() throws {
    let doubts = try doubts(.hf) { $0["text_config.rope_theta"] = .number(1e9) }
    #expect(doubts.first?.key == "text_config.rope_theta")
    #expect(doubts.first?.expected == "1000000.0, as in rope_parameters")
  }

  @Test func aBaseThatIsInRopeScalingAloneIsNamedThere() throws {
    let doubts = try doubts(.hf) {
      $0["text_config.rope_theta"] = nil
      $0["text_config.rope_parameters"] = nil
      $0["text_config.rope_scaling"] = ["rope_type": "default", "rope_theta": .number(1e9)]
    }
    #expect(doubts.map(\.key) == ["text_config.rope_scaling.rope_theta"])
  }

  @Test func threeBasesAreComparedWithTheFirst() throws {
    let doubts = try doubts(.hf) { $0["text_config.rope_scaling"] = ["rope_theta": .number(1e9)] }
    #expect(doubts.map(\.key) == ["text_config.rope_scaling.rope_theta"])
    #expect(doubts.first?.expected == "1000000.0, as in rope_parameters")
  }

  @Test(arguments: [("image_token_index", 14), ("image_token_index", 1 << 19)])
  func anIdThatIsNoneIsNamedWhereItStands(key: String, id: Int) throws {
    let doubt = try #require(doubts(.hf) { $0[key] = .integer(id) }.first)
    #expect(doubt.key == key)
    #expect(doubt.found == .integer(id))
    #expect(doubt.why == "it makes another model, and trace refuses it")
  }

  @Test func numbersThatContradictOneAnotherAreDoubtsToo() throws {
    #expect(
      try doubts(.hf) { $0["text_config.num_attention_heads"] = .integer(95) }.first?.key
        == "text_config.num_attention_heads")
  }
}

@Suite("checkpoint inspect")
struct InspectionTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test func aCheckpointThatIsRefusedIsDescribedAllTheSame() throws {
    let config = smallConfig.replacing(#""hidden_act": "silu""#, with: #""hidden_act": "gelu""#)
    let inspection = try Inspection(smallHuggingFaceCheckpoint(in: folder, config: config))
    #expect(inspection.refusal?.place.hasSuffix("config.json, vision_config, hidden_act") == true)
    #expect(inspection.json["doubts"]?.array?.first?["key"] == "vision_config.hidden_act")
    #expect(inspection.json["tensors"]?.array?.count == 25)
  }

  @Test func aScalarIsDescribedAsAnyTensor() throws {
    var inspection = try Inspection(smallCheckpoint(in: folder) { $0.add("scale", [], [0.5]) })
    try inspection.readValues { _, _, _ in }
    #expect(inspection.refusal?.place.hasSuffix("tensor scale") == true)
    let scale = try #require(inspection.json["tensors"]?.array?.last)
    #expect(scale["shape"] == [])
    #expect(scale["rms"]?.decimal == 0.5)
  }

  @Test func namesOfBothLayoutsAreGiven() throws {
    let json = try Inspection(smallHuggingFaceCheckpoint(in: folder)).json
    #expect(json["layout"] == "hf")
    #expect(json["refused"] == .null)
    let head = json["tensors"]?.array?.first { $0["name"] == "output.weight" }
    #expect(head?["stored_name"] == "language_model.lm_head.weight")
  }

  @Test func valuesOfATensorAreSummedUp() throws {
    var inspection = try Inspection(
      smallCheckpoint(in: folder) { file in
        let n = file.tensors.firstIndex { $0.name == "norm.weight" }!
        file.tensors.remove(at: n)
        file.add("norm.weight", [4], [3, -4, 0, .infinity])
      })
    try inspection.readValues { _, _, _ in }
    let norm = try #require(inspection.json["tensors"]?.array?.first { $0["name"] == "norm.weight" })
    #expect(norm["rms"]?.decimal == (25.0 / 3).squareRoot())
    #expect(norm["largest"]?.decimal == 4)
    #expect(norm["non_finite"] == .integer(1))
    #expect(norm["zeros"] == .number(0.25))
    // hashlib.sha256(numpy.float32([3, -4, 0, numpy.inf]).tobytes())
    #expect(norm["sha256"] == "4fe790ba414e12f412e719d85831452bb198c1d1a981454d27e3a277a09e3c90")
    #expect(inspection.json["doubts"]?.array?.last?["key"] == "norm.weight")
  }

  @Test func halfSplitRowsAreHashedInBothOrders() throws {
    try writeCheckpoint(
      Checkpoint("seeded:tiny"), layout: .hf, to: folder.path, shardBytes: 1 << 40,
      tokenizer: "\(fixtures)/tokenizer/\(Tokenizer.fileName)")
    let name = "layers.0.attention.wk.weight"
    let tensor = try #require(CheckpointFolder(folder.path).tensors[name])
    let seeded = try Checkpoint("seeded:tiny").tensor(name)
    #expect(TensorValues(tensor).sha256 == TensorValues(seeded).sha256)
    #expect(TensorValues(tensor).storedSHA256 != TensorValues(tensor).sha256)
    #expect(TensorValues(seeded).storedSHA256 == nil)
  }

  @Test func anOutputHeadThatIsTheEmbeddingsIsDoubted() throws {
    var inspection = try Inspection(
      smallCheckpoint(in: folder) { file in
        let embeddings = file.tensors.first { $0.name == "tok_embeddings.weight" }!
        let n = file.tensors.firstIndex { $0.name == "output.weight" }!
        file.tensors[n].bytes = embeddings.bytes
      })
    try inspection.readValues { _, _, _ in }
    #expect(inspection.json["doubts"]?.array?.contains { $0["key"] == "output.weight" } == true)
  }

  @Test func weightsOfHalfPrecisionAreDoubted() throws {
    let path = try smallCheckpoint(in: folder) { file in
      let n = file.tensors.firstIndex { $0.name == "norm.weight" }!
      file.tensors[n].dtype = "F16"
      file.tensors[n].bytes = [UInt8](repeating: 0, count: 8)
    }
    #expect(try Inspection(path).json["doubts"]?.array?.contains { $0["key"] == "norm.weight" } == true)
  }
}

/// An object whose keys are changed by their path.
private struct Keys {
  var json: JSON

  subscript(path: String) -> JSON? {
    get { nil }
    set { json = changed(json, path.split(separator: ".").map(String.init)[...], to: newValue) }
  }
}

private func changed(_ json: JSON, _ path: ArraySlice<String>, to value: JSON?) -> JSON {
  guard let key = path.first else { return value ?? .null }
  var members = json.members ?? []
  let n = members.firstIndex { $0.key == key }
  if path.count == 1, value == nil {
    members.removeAll { $0.key == key }
  } else {
    let member = JSON.Member(
      key: key, value: changed(n.map { members[$0].value } ?? .object([]), path.dropFirst(), to: value))
    if let n { members[n] = member } else { members.append(member) }
  }
  return .object(members)
}
