import Foundation
import PixtralImage
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Checkpoints")
struct CheckpointTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test("A whole checkpoint opens without a warning")
  func whole() throws {
    let checkpoint = try Checkpoint(smallCheckpoint(in: folder))
    #expect(checkpoint.tensors.count == 25)
    #expect(checkpoint.warnings.isEmpty)
  }

  @Test("A missing tensor is named")
  func missing() throws {
    let path = try smallCheckpoint(in: folder) {
      $0.tensors.removeAll { $0.name == "layers.0.attention.wk.weight" }
    }
    let error = try refusal { try Checkpoint(path) }
    #expect(error.place.hasSuffix("tensor layers.0.attention.wk.weight"))
    #expect(error.expected == "[2, 4]")
    #expect(error.found == "no such tensor")
  }

  @Test("A tensor that the model does not have is named")
  func extra() throws {
    let path = try smallCheckpoint(in: folder) {
      $0.add("layers.1.attention.wq.weight", [4, 4], [Float](repeating: 0, count: 16))
    }
    #expect(try refusal { try Checkpoint(path) }.place.hasSuffix("tensor layers.1.attention.wq.weight"))
  }

  @Test("A transposed tensor is recognised")
  func transposed() throws {
    let path = try smallCheckpoint(in: folder) { file in
      let index = file.tensors.firstIndex { $0.name == "layers.0.feed_forward.w2.weight" }!
      file.tensors[index].shape = [6, 4]
    }
    let error = try refusal { try Checkpoint(path) }
    #expect(
      "\(error)".hasSuffix(
        "layers.0.feed_forward.w2.weight: expected [4, 6], found [6, 4]; is it transposed?"))
  }

  @Test("adapter_bias absent means that biases are expected")
  func biasByDefault() throws {
    let parameters = smallParameters.replacingOccurrences(of: #", "adapter_bias": false"#, with: "")
    let error = try refusal { try Checkpoint(smallCheckpoint(in: folder, parameters: parameters)) }
    #expect(error.place.hasSuffix("vision_language_adapter.w_in.bias"))
  }

  @Test("Shards with an index are one checkpoint, with the same values")
  func shards() throws {
    let other = try TemporaryFolder()
    let single = try Checkpoint(smallCheckpoint(in: other))
    try shard { _ in }
    let sharded = try Checkpoint(folder.path)
    #expect(sharded.files.count == 2)
    for (a, b) in zip(single.tensors, sharded.tensors) {
      let (x, y): ([Float], [Float]) = (a.vector(), b.vector())
      #expect(x == y)
    }
  }

  @Test("A tensor in another shard than the index says is refused")
  func wrongShard() throws {
    try shard { $0["norm.weight"] = "one.safetensors" }
    #expect(
      try refusal { try Checkpoint(folder.path) }.place.hasSuffix("two.safetensors, tensor norm.weight"))
  }

  @Test("An index that names a tensor which no file has is refused")
  func indexPromisesMore() throws {
    try shard { $0["nowhere.weight"] = "two.safetensors" }
    #expect(try refusal { try Checkpoint(folder.path) }.place.hasSuffix("tensor nowhere.weight"))
  }

  @Test("An index may not lead out of its folder")
  func indexStaysInside() throws {
    try shard { $0["norm.weight"] = "../two.safetensors" }
    #expect(try refusal { try Checkpoint(folder.path) }.expected == "the name of a file beside it")
  }

  @Test("A tensor that the index does not name is refused")
  func indexPromisesLess() throws {
    try shard { $0["norm.weight"] = nil }
    #expect(
      try refusal { try Checkpoint(folder.path) }.expected
        == "to be in no file, for the index does not name it")
  }

  @Test(
    "What is no weight_map is refused",
    arguments: ["[]", "{}", #"{"weight_map":[]}"#, #"{"weight_map":{"a":1}}"#])
  func noWeightMap(text: String) throws {
    try shard { _ in }
    try folder.write(CheckpointLayout.mistral.indexName, text)
    #expect(try refusal { try Checkpoint(folder.path) }.kind == .wrongTensors)
  }

  @Test("An index file is read as strictly as any JSON")
  func strictIndex() throws {
    try shard { _ in }
    try folder.write(
      CheckpointLayout.mistral.indexName, #"{"weight_map":{"a":"one.safetensors","a":"one.safetensors"}}"#)
    #expect(try refusal { try Checkpoint(folder.path) }.kind == .malformedJSON)
  }

  @Test("A file name with a NUL is not cut to that of another file")
  func nulInIndex() throws {
    try shard { $0["norm.weight"] = "two.safetensors\0x" }
    let error = try refusal { try Checkpoint(folder.path) }
    #expect(error.expected == "the name of a file beside it")
    #expect("\(error)".hasSuffix(#"found two.safetensors\u0000x"#))
  }

  @Test("A tensor whose name goes on behind a NUL is another tensor")
  func nulInTensor() throws {
    let path = try smallCheckpoint(in: folder) { file in
      let index = file.tensors.firstIndex { $0.name == "norm.weight" }!
      file.tensors[index].name = #"norm.weight\u0000x"#
    }
    #expect(try refusal { try Checkpoint(path) }.place.hasSuffix("tensor norm.weight"))
  }

  @Test("A dtype that is not computed with is refused")
  func otherDType() throws {
    let path = try smallCheckpoint(in: folder) { file in
      let index = file.tensors.firstIndex { $0.name == "norm.weight" }!
      file.tensors[index].dtype = "I32"
    }
    #expect("\(try refusal { try Checkpoint(path) })".hasSuffix("found I32; convert it first"))
  }

  @Test("A warning names an unknown key without what a terminal would obey")
  func escapedWarning() throws {
    let key = #""a\u001b[31m\u009b\u2028": 1"#
    let parameters = smallParameters.replacingOccurrences(of: "\"dim\": 4", with: "\"dim\": 4, \(key)")
    let warnings = try Checkpoint(smallCheckpoint(in: folder, parameters: parameters)).warnings
    #expect(warnings.count == 1)
    #expect(warnings[0].hasSuffix(#"unknown key a\u001b[31m\u009b\u2028, ignored"#))
  }

  @Test("Of many unknown keys the first are named and the others counted")
  func manyWarnings() throws {
    let keys = (0..<1000).map { "\"k\($0)\": 1" }.joined(separator: ", ")
    let parameters = smallParameters.replacingOccurrences(of: "\"dim\": 4", with: "\"dim\": 4, \(keys)")
    let warnings = try Checkpoint(smallCheckpoint(in: folder, parameters: parameters)).warnings
    #expect(warnings.count == 21)
    #expect(warnings[20].hasSuffix("980 more unknown keys, ignored"))
  }

  @Test("A shard that the index names and nobody has put there is named")
  func missingShard() throws {
    try shard { $0["norm.weight"] = "three.safetensors" }
    let error = try refusal { try Checkpoint(folder.path) }
    #expect(error.place.hasSuffix("index.json, norm.weight"))
    #expect(error.expected == "the file three.safetensors beside it")
    #expect(error.found == "no such file")
  }

  @Test("The digest of a run changes with a single bit of a weight that it has used, and of no other")
  func digest() throws {
    func digest(changing name: String? = nil) throws -> String {
      let checkpoint = try Checkpoint(
        smallCheckpoint(in: folder) { file in
          for n in file.tensors.indices where file.tensors[n].name == name { file.tensors[n].bytes[5] ^= 1 }
        })
      _ = checkpoint.tensor("norm.weight")
      return checkpoint.digest()
    }
    let before = try digest()
    #expect(before.count == 64)
    #expect(try digest(changing: "norm.weight") != before)
    #expect(try digest(changing: "output.weight") == before)
  }

  @Test("The digests of prompts with and without images are made together, and each tensor is read once")
  func digests() throws {
    let checkpoint = try Checkpoint(smallCheckpoint(in: folder))
    for name in ["norm.weight", "vision_encoder.ln_pre.weight"] { _ = checkpoint.tensor(name) }
    var read: [String] = []
    let digests = checkpoint.digests(seeingImages: [true, false]) { read.append($0) }
    #expect(read.sorted() == ["norm.weight", "vision_encoder.ln_pre.weight"])
    for seesImages in [true, false] {
      #expect(digests[seesImages] == checkpoint.digest(seesImages: seesImages))
    }
    #expect(digests[true] != digests[false])
  }

  @Test("Each row of q and k weights finds its place in the half-split order")
  func halfSplit() {
    // Two heads of four rows: pairs (0,1) (2,3) become (0,2) (1,3).
    #expect((0..<8).map { halfSplitRow($0, headRows: 4) } == [0, 2, 1, 3, 4, 6, 5, 7])
  }

  @Test(
    "A seeded checkpoint written in Mistral's layout reads back with the same values, in one file or several")
  func writtenAndRead() throws {
    let seeded = try Checkpoint("seeded:tiny")
    for megabytes in [5000, 3] {
      let out = "\(folder.path)/out-\(megabytes)"
      try writeCheckpoint(
        seeded, layout: .mistral, to: out, shardBytes: megabytes * 1_000_000,
        tokenizer: "\(fixtures)/tokenizer/\(Tokenizer.fileName)")
      let read = try Checkpoint(out)
      #expect(read.parameters == seeded.parameters)
      #expect(read.warnings.isEmpty)
      #expect(megabytes == 5000 ? read.files.count == 1 : read.files.count > 1)
      for name in ["layers.2.feed_forward.w2.weight", "vision_encoder.patch_conv.weight", "norm.weight"] {
        let (a, b): ([Float], [Float]) = (seeded.tensor(name).vector(), read.tensor(name).vector())
        #expect(a == b)
      }
    }
  }

  /// The small checkpoint as two files; `edit` may spoil the index.
  private func shard(_ edit: (inout [String: String]) -> Void) throws {
    try folder.write("params.json", smallParameters)
    var (one, two) = (TensorFile(), TensorFile())
    var index: [String: String] = [:]
    for (n, tensor) in smallTensors().tensors.enumerated() {
      if n < 12 { one.tensors.append(tensor) } else { two.tensors.append(tensor) }
      index[tensor.name] = n < 12 ? "one.safetensors" : "two.safetensors"
    }
    edit(&index)
    try folder.write("one.safetensors", one.bytes)
    try folder.write("two.safetensors", two.bytes)
    let map = JSON.object(
      index.sorted { $0.key < $1.key }.map { JSON.Member(key: $0.key, value: .string($0.value)) })
    try folder.write("consolidated.safetensors.index.json", (["weight_map": map] as JSON).text())
  }
}
