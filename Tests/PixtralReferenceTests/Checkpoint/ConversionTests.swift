import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

/// Each test spoils a copy of the small checkpoint in one way. Its numbers are eighths: exact in every dtype.
@Suite("checkpoint compare")
struct ConversionTests {
  let original: TemporaryFolder
  let converted: TemporaryFolder

  init() throws { (original, converted) = (try TemporaryFolder(), try TemporaryFolder()) }

  private func compare(
    parameters: String = smallParameters, _ spoil: (inout TensorFile) -> Void = { _ in }
  ) throws -> Conversion {
    try compare(parameters: parameters, { _ in }, spoil)
  }

  /// - prepare: makes the original, of which the copy is spoilt.
  private func compare(
    parameters: String = smallParameters, _ prepare: (inout TensorFile) -> Void,
    _ spoil: (inout TensorFile) -> Void
  ) throws -> Conversion {
    let left = try smallCheckpoint(in: original) { prepare(&$0) }
    let right = try smallCheckpoint(in: converted, parameters: parameters) {
      prepare(&$0)
      spoil(&$0)
    }
    var conversion = try Conversion(original: left, converted: right)
    try conversion.compareTensors { _, _, _ in }
    return conversion
  }

  /// The one tensor that is not identical.
  private func only(_ conversion: Conversion) throws -> TensorReport {
    let others = conversion.tensors.filter { $0.verdict != .identical }
    try #require(others.count == 1, "\(others)")
    return others[0]
  }

  @Test func aCopyIsFaithful() throws {
    let conversion = try compare()
    #expect(conversion.isFaithful)
    #expect(conversion.tensors.count == 25)
    #expect(conversion.parameters.count == 21)
    #expect(conversion.json["counts"] == ["identical": .integer(25)])
  }

  @Test(arguments: [false, true])
  func theOtherLayoutIsFaithfulBothWays(back: Bool) throws {
    let (left, right) = (try smallCheckpoint(in: original), try smallHuggingFaceCheckpoint(in: converted))
    var conversion = try Conversion(original: back ? right : left, converted: back ? left : right)
    try conversion.compareTensors { _, _, _ in }
    #expect(conversion.isFaithful)
    #expect(conversion.parameters.count == 19)
  }

  @Test func aSeededCheckpointIsAnOriginalToo() throws {
    try writeCheckpoint(
      Checkpoint("seeded:tiny"), layout: .hf, to: converted.path, shardBytes: 1 << 40,
      tokenizer: "\(fixtures)/tokenizer/\(Tokenizer.fileName)")
    var conversion = try Conversion(original: "seeded:tiny", converted: converted.path)
    try conversion.compareTensors { _, _, _ in }
    #expect(conversion.isFaithful)
  }

  @Test func aParameterThatDiffersIsNoFaithfulConversion() throws {
    let conversion = try compare(parameters: smallParameters.replacing("1e6", with: "1e9"))
    #expect(!conversion.isFaithful)
    #expect(
      conversion.parameters.filter { !$0.agrees }
        == [ParameterPair(key: "rope_theta", original: .number(1e6), converted: .number(1e9))])
  }

  @Test func anotherModelsKeyIsNoFaithfulConversion() throws {
    let conversion = try compare(
      parameters: smallParameters.replacing(#""dim""#, with: #""tied_embeddings": true, "dim""#))
    #expect(!conversion.isFaithful)
    #expect(conversion.refusals.map(\.found) == ["true"])
  }

  @Test(arguments: ["F16", "BF16"])
  func aWiderDtypeOfTheSameValuesIsIdentical(type: String) throws {
    let conversion = try compare {
      $0.store("norm.weight", type, [1, -0.5, 2, 0.25])
    } _: {
      $0.store("norm.weight", "F32", [1, -0.5, 2, 0.25])
    }
    #expect(conversion.isFaithful)
    #expect(conversion.tensors.allSatisfy { $0.verdict == .identical })
  }

  @Test func roundingToTheNearestIsFaithfulAndSaid() throws {
    let report = try only(
      compare {
        $0.store("norm.weight", "F32", [1.001, -0.5, 1e-30, 0.25])
      } _: {
        // torch.tensor([1.001, -0.5, 1e-30, 0.25]).half()
        $0.store("norm.weight", "F16", [1.0009765625, -0.5, 0, 0.25])
      })
    #expect(report.verdict.isFaithful)
    #expect(report.verdict.detail == "to F16; 2 of 4 values changed, 1 of them to 0")
  }

  @Test func roundingShowsInAWiderDtypeToo() throws {
    let report = try only(
      compare {
        $0.store("norm.weight", "F32", [1.001, 1.01, 1, 0.25])
      } _: {
        // torch.tensor([1.001, 1.01, 1, 0.25]).bfloat16().float()
        $0.store("norm.weight", "F32", [1, 1.0078125, 1, 0.25])
      })
    #expect(report.verdict.detail == "to BF16, stored as F32; 2 of 4 values changed")
  }

  @Test func bitsThatAreCutOffAreNoRounding() throws {
    let report = try only(
      compare {
        $0.store("norm.weight", "F32", [1.0077, 1.01, 1, 0.25])
      } _: {
        $0.store("norm.weight", "F32", [1, 1.0078125, 1, 0.25])
      })
    #expect(report.verdict == .truncated(to: .bf16))
    #expect(!report.verdict.isFaithful)
  }

  @Test func whatBecameInfiniteInHalfPrecisionIsCounted() throws {
    let report = try only(
      compare {
        $0.store("norm.weight", "BF16", [1, 131_072, 2, -65_536])
      } _: {
        $0.store("norm.weight", "F16", [1, .infinity, 2, -.infinity])
      })
    #expect(!report.verdict.isFaithful)
    #expect(report.verdict.word == "overflowed")
    #expect(report.verdict.detail == "rounded to F16; 2 of 4 values became infinite")
  }

  @Test func oneValueIsNamedWithItsPlace() throws {
    let report = try only(
      compare {
        $0.edit("layers.0.feed_forward.w1.weight") { values in values[9] = 7 }
      })
    #expect(report.name == "layers.0.feed_forward.w1.weight")
    #expect(report.verdict.detail.hasPrefix("1 of 24 values differs, at [2, 1]: "))
    #expect(report.verdict.detail.hasSuffix(" became 7.0"))
  }

  @Test func oneValueIsNamedAmongRoundedOnesToo() throws {
    let values = (0..<200).map { 1 + Float($0) / 999 }
    let report = try only(
      compare {
        $0.add("layers.0.scale", [200], values)
      } _: {
        var rounded = values.map { Float(Float16($0)) }
        rounded[7] = 3
        $0.store("layers.0.scale", "F16", rounded)
      })
    #expect(
      report.verdict.detail.hasPrefix("1 of 200 values differs by more than rounding to F16, at [7]: 1.007"))
  }

  @Test func whatBecameInfiniteOnTheWayIsCountedToo() throws {
    let report = try only(
      compare {
        $0.store("norm.weight", "BF16", [1, 131_072, 2, -65_536])
      } _: {
        $0.store("norm.weight", "BF16", [1, .infinity, 2, -.infinity])
      })
    #expect(report.verdict.detail == "rounded to F16, stored as BF16; 2 of 4 values became infinite")
  }

  @Test func anotherSignOfZeroIsAnotherValue() throws {
    let report = try only(
      compare {
        $0.store("norm.weight", "F32", [1, 0, 2, 3])
      } _: {
        $0.store("norm.weight", "F32", [1, -0.0, 2, 3])
      })
    #expect(report.verdict.detail == "1 of 4 values differs, at [1]: 0.0 became -0.0")
  }

  @Test func aRowThatIsLostIsNamed() throws {
    let report = try only(
      compare {
        $0.edit("tok_embeddings.weight") { values in for n in 56..<60 { values[n] = 9 } }
      })
    #expect(report.verdict.detail.hasPrefix("4 of 80 values differ, all in row 14, relF "))
  }

  @Test func gateAndUpThatAreSwappedAreNamed() throws {
    let conversion = try compare {
      $0.makeDistinct()
    } _: {
      $0.swap("layers.0.feed_forward.w1.weight", "layers.0.feed_forward.w3.weight")
    }
    #expect(
      conversion.tensors.filter { $0.verdict != .identical }.map { "\($0.name): \($0.verdict.detail)" } == [
        "layers.0.feed_forward.w1.weight: it is ORIGINAL's layers.0.feed_forward.w3.weight",
        "layers.0.feed_forward.w3.weight: it is ORIGINAL's layers.0.feed_forward.w1.weight",
      ])
  }

  @Test func aTensorThatIsTransposedIsNamed() throws {
    let report = try only(
      compare {
        $0.makeDistinct()
      } _: {
        $0.edit("layers.0.feed_forward.w2.weight") { values in
          values = (0..<24).map { values[$0 % 4 * 6 + $0 / 4] }
        }
        $0.reshape("layers.0.feed_forward.w2.weight", [6, 4])
      })
    #expect(report.verdict == .transposed)
  }

  @Test func aSquareTensorThatIsTransposedIsNamed() throws {
    let report = try only(
      compare {
        $0.makeDistinct()
      } _: {
        $0.edit("layers.0.attention.wo.weight") { values in
          values = (0..<16).map { values[$0 % 4 * 4 + $0 / 4] }
        }
      })
    #expect(report.verdict == .transposed)
  }

  @Test func aKernelWithItsChannelsLastIsNamed() throws {
    let report = try only(
      compare {
        $0.makeDistinct()
      } _: {
        $0.edit("vision_encoder.patch_conv.weight") { values in
          // [4, 3, 2, 2] → [4, 2, 2, 3]
          values = (0..<48).map { values[$0 / 12 * 12 + $0 % 3 * 4 + $0 % 12 / 3] }
        }
        $0.reshape("vision_encoder.patch_conv.weight", [4, 2, 2, 3])
      })
    #expect(report.verdict == .permuted("axes are ORIGINAL's in the order [0, 2, 3, 1]"))
  }

  @Test func channelsTheOtherWayRoundAreNamed() throws {
    let report = try only(
      compare {
        $0.makeDistinct()
      } _: {
        $0.edit("vision_encoder.patch_conv.weight") { values in
          values = (0..<48).map { values[$0 / 12 * 12 + (2 - $0 % 12 / 4) * 4 + $0 % 4] }
        }
      })
    #expect(report.verdict == .permuted("channels are the other way round: blue, green, red"))
  }

  @Test func aFactorIsFound() throws {
    let report = try only(compare { $0.edit("norm.weight") { $0 = $0.map { $0 * 0.5 } } })
    #expect(report.verdict == .scaled(by: 0.5))
  }

  @Test func aFactorOfAllValuesButOneIsNone() throws {
    let report = try only(
      compare {
        $0.makeDistinct()
      } _: {
        // So small a value that the norm of all does not show it.
        $0.edit("output.weight") { values in
          values = values.map { $0 * 0.5 }
          values[1] += 0.001
        }
      })
    #expect(report.verdict.word == "different")
  }

  @Test func whatIsZeroEverywhereIsLostThoughEachValueIsTheNearest() throws {
    let report = try only(
      compare {
        $0.store("norm.weight", "F32", [1e-9, -1e-9, 2e-9, 0])
      } _: {
        $0.store("norm.weight", "F16", [0, -0.0, 0, 0])
      })
    #expect(!report.verdict.isFaithful)
    #expect(report.verdict.detail.hasPrefix("3 of 4 values differ, relF 1.0e0"))
  }

  @Test func roundingByWayOfFloat32IsFaithful() throws {
    // torch.tensor([1 + 2**-11 + 2**-30], dtype=torch.float64).half() is 1.
    func replaced(_ file: inout TensorFile, with bytes: [UInt8], _ type: String) {
      file.store("norm.weight", "F32", [0])
      file.tensors[file.tensors.firstIndex { $0.name == "norm.weight" }!] = ("norm.weight", type, [2], bytes)
    }
    let report = try only(
      compare {
        let values = [1 + 0x1p-11 + 0x1p-30, 1 + 0x1p-10]
        replaced(
          &$0, with: values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) }, "F64")
      } _: {
        $0.store("norm.weight", "F16", [1, 1 + 0x1p-10])
      })
    #expect(report.verdict.detail == "to F16; 1 of 2 values changed")
    #expect(report.verdict.isFaithful)
  }

  @Test func aScalarIsATensorToo() throws {
    let conversion = try compare { $0.add("scale", [], [0.5]) }
    #expect(try only(conversion).verdict == .extra)
  }

  @Test func moreHeadsThanRowsAreNoHeads() throws {
    let parameters = smallParameters.replacing(#""n_heads": 2"#, with: #""n_heads": 1024"#)
    let conversion = try compare(parameters: parameters) {
      $0.makeDistinct()
    } _: {
      $0.edit("layers.0.attention.wq.weight") { values in values = Array(values[4...] + values[..<4]) }
    }
    #expect(
      try only(conversion).verdict == .permuted("rows are in another order: row 0 is ORIGINAL's row 1"))
  }

  @Test func aCheckpointWithoutTensorsIsRefused() throws {
    let path = try smallCheckpoint(in: original) { $0.tensors = [] }
    #expect(try refusal { try Conversion(original: path, converted: path) }.found == "none")
  }

  @Test func rowsInAnotherOrderAreNamed() throws {
    let report = try only(
      compare {
        $0.makeDistinct()
      } _: {
        $0.edit("layers.0.attention.wv.weight") { values in values = Array(values[4...] + values[..<4]) }
      })
    #expect(report.verdict == .permuted("rows are in another order: row 0 is ORIGINAL's row 1"))
  }

  @Test func headsInAnotherOrderAreNamed() throws {
    let report = try only(
      compare {
        $0.makeDistinct()
      } _: {
        // Two heads of two rows of four.
        $0.edit("layers.0.attention.wq.weight") { values in values = Array(values[8...] + values[..<8]) }
      })
    #expect(report.verdict == .permuted("heads are in another order: head 0 is ORIGINAL's head 1"))
  }

  @Test func aDroppedTensorIsMissing() throws {
    let report = try only(compare { file in file.tensors.removeAll { $0.name == "norm.weight" } })
    #expect(report.verdict == .missing)
    #expect(report.name == "norm.weight")
  }

  @Test func anAddedBiasIsExtra() throws {
    let conversion = try compare { $0.add("vision_language_adapter.w_in.bias", [4], [0, 0, 0, 0]) }
    #expect(try only(conversion).verdict == .extra)
    #expect(!conversion.isFaithful)
  }

  @Test func anotherShapeIsSaid() throws {
    let report = try only(
      compare {
        $0.add("x", [1], [0])
      } _: {
        $0.store("norm.weight", "F32", [1, 2, 3])
      })
    #expect(report.verdict == .reshaped(from: [4], to: [3]))
  }
}

/// A tensor's rows in the wrong order, in heads that are long enough to have one.
@Suite("Orders of rotary rows")
struct RowOrderTests {
  /// Two heads of eight rows of one column; the values number the rows.
  private let rows = (0..<16).map(Float.init)

  private func order(
    _ stored: [Float], layout: CheckpointLayout, name: String = "layers.0.attention.wk.weight"
  ) throws
    -> String?
  {
    let folder = try TemporaryFolder()
    var file = TensorFile()
    file.add(name, [16, 1], rows)
    file.add("stored", [16, 1], stored)
    let read = try Safetensors(folder.write("x.safetensors", file.bytes))
    let (o, c) = (
      try StoredTensor(read.tensors[0], of: read.file), try StoredTensor(read.tensors[1], of: read.file)
    )
    let parameters = try Parameters(
      JSON(
        parsing: smallParameters.replacing(
          #""n_heads": 2, "n_kv_heads": 1"#, with: #""n_heads": 4, "n_kv_heads": 2"#),
        place: ""), place: "")
    return rowOrder(
      o, layout == .hf ? c.asAdjacentPairs(heads: 2) : c, headRows: 8, layout: layout, parameters: parameters)
  }

  /// Half-split order as the conversion script of transformers has it, for heads of some rows.
  private func permuted(_ rows: [Float], heads: Int) -> [Float] {
    let half = rows.count / heads / 2
    return (0..<heads).flatMap { head in
      (0..<2).flatMap { part in (0..<half).map { rows[head * half * 2 + $0 * 2 + part] } }
    }
  }

  @Test func halfSplitOrderThatIsMissingIsNamed() throws {
    #expect(
      try order(rows, layout: .hf)
        == "rows are in Mistral's order, where half-split order is due for 2 heads of 8")
  }

  @Test func theNumberOfQueryHeadsIsNamed() throws {
    let stored = permuted(rows, heads: 4)
    let by4 = "rows are in half-split order by 4 heads of 4 rows instead of 2 of 8"
    #expect(try order(stored, layout: .hf) == "\(by4) (the number of query heads)")
    #expect(try order(stored, layout: .hf, name: "layers.0.attention.wq.weight") == by4)
  }

  @Test func halfSplitOrderThatIsLeftInMistralsLayoutIsNamed() throws {
    #expect(
      try order(permuted(rows, heads: 2), layout: .mistral)
        == "rows are in half-split order, where Mistral's order is due")
  }

  @Test func aPermutationTwiceIsNamed() throws {
    let twice = permuted(permuted(rows, heads: 2), heads: 2)
    #expect(try order(twice, layout: .hf) == "rows are permuted the other way round")
    let all = permuted(permuted(rows, heads: 1), heads: 1)
    #expect(
      try order(all, layout: .hf) == "rows are permuted twice by 1 heads of 16 rows instead of 2 of 8")
  }

  @Test func theWholeOfAHeadMayStandElsewhere() throws {
    #expect(
      try order(Array(rows[8...] + rows[..<8]), layout: .mistral)
        == "heads are in another order: head 0 is ORIGINAL's head 1")
  }

  @Test func otherRowsAreNoOrder() throws {
    #expect(try order(rows.map { $0 + 1 }, layout: .hf) == nil)
  }
}

extension TensorFile {
  private func index(_ name: String) -> Int { tensors.firstIndex { $0.name == name }! }

  /// A vector in a dtype in which its values are exact.
  fileprivate mutating func store(_ name: String, _ type: String, _ values: [Float]) {
    let bytes = values.flatMap { value -> [UInt8] in
      switch type {
      case "F16": withUnsafeBytes(of: Float16(value).bitPattern.littleEndian, Array.init)
      case "BF16": withUnsafeBytes(of: UInt16(value.bitPattern >> 16).littleEndian, Array.init)
      default: withUnsafeBytes(of: value.bitPattern.littleEndian, Array.init)
      }
    }
    tensors[index(name)] = (name, type, [values.count], bytes)
  }

  fileprivate mutating func edit(_ name: String, _ change: (inout [Float]) -> Void) {
    let n = index(name)
    var values = tensors[n].bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    change(&values)
    tensors[n].bytes = values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) }
  }

  fileprivate mutating func reshape(_ name: String, _ shape: [Int]) { tensors[index(name)].shape = shape }

  fileprivate mutating func swap(_ a: String, _ b: String) {
    let (a, b) = (index(a), index(b))
    (tensors[a].bytes, tensors[b].bytes) = (tensors[b].bytes, tensors[a].bytes)
  }

  /// No two values of the file alike.
  fileprivate mutating func makeDistinct() {
    var next: Float = 0
    for tensor in tensors {
      edit(tensor.name) { values in
        for n in values.indices { (values[n], next) = (next / 1024, next + 1) }
      }
    }
  }
}
