import PixtralImage
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

/// Check values written by the NumPy oracle, Fixtures/oracle/make_values.py.
@Suite("Seeded checkpoints")
struct SeededTests {
  static let models = ["seeded:tiny", "seeded:small", "seeded:pixtral-large"]

  @Test("Values are the oracle's, bit for bit", arguments: models)
  func valuesAreTheOracles(model: String) throws {
    let checkpoint = try Checkpoint(model)
    let tensors = try oracle(model)
    #expect(tensors.count > 5)
    for entry in tensors {
      let weight = checkpoint.tensor(try #require(entry["name"]?.string))
      #expect(weight.shape == entry["shape"]?.integers)
      let middle = try #require(entry["middle_index"]?.integer)
      let last = try #require(entry["last_index"]?.integer)
      for (n, expected) in try #require(entry["first"]?.strings).enumerated() {
        #expect(hex(bits(weight, n)) == expected)
      }
      for (n, expected) in try #require(entry["middle"]?.strings).enumerated() {
        #expect(hex(bits(weight, middle + n)) == expected)
      }
      #expect(hex(bits(weight, last)) == entry["last"]?.string)
    }
  }

  @Test("Whole tensors have the oracle's sum of bits", arguments: ["seeded:tiny", "seeded:small"])
  func wholeTensors(model: String) throws {
    let checkpoint = try Checkpoint(model)
    for entry in try oracle(model) {
      let weight = checkpoint.tensor(try #require(entry["name"]?.string))
      let values: [Float] = weight.vector()
      let sum = values.reduce(UInt64(0)) { $0 &+ UInt64($1.bitPattern >> 16) }
      #expect("\(sum)" == entry["sum_of_bits"]?.text(), "\(weight.name)")
    }
  }

  @Test("A model has the oracle's number of tensors and values", arguments: models)
  func counts(model: String) throws {
    let expected = try oracleModel(model)
    let tensors = try Checkpoint(model).tensors
    #expect(tensors.count == expected["tensor_count"]?.integer)
    #expect(tensors.reduce(0) { $0 + $1.rows * $1.columns } == expected["value_count"]?.integer)
  }

  @Test("seeded:small has heads and widths that production kernels take")
  func shapesOfKernels() throws {
    let shape = try Checkpoint("seeded:small").parameters
    #expect(shape.headDim == 128 && shape.vision.headDim == 64)
    #expect(widths(shape).allSatisfy { $0.isMultiple(of: 128) })
  }

  @Test("One width taken for another shows", arguments: ["seeded:tiny", "seeded:small"])
  func widthsDiffer(model: String) throws {
    let widths = widths(try Checkpoint(model).parameters)
    #expect(Set(widths).count == widths.count)
  }

  /// Of the rows that go between operations: decoder, queries, keys and values, feed-forward; vision encoder,
  /// its feed-forward; a patch.
  private func widths(_ shape: Parameters) -> [Int] {
    [
      shape.dim, shape.heads * shape.headDim, shape.keyValueHeads * shape.headDim, shape.hiddenDim,
      shape.vision.hiddenSize, shape.vision.intermediateSize,
      shape.vision.channels * shape.vision.patchSize * shape.vision.patchSize,
    ]
  }

  @Test("Any range of rows holds the values that the whole has there")
  func rowsAreSlices() throws {
    let weight = try Checkpoint("seeded:tiny").tensor("layers.1.feed_forward.w2.weight")
    let whole: [Float] = weight.vector()
    let rows: Matrix<Float> = weight.rows(5..<8)
    #expect(rows.values == Array(whole[5 * weight.columns..<8 * weight.columns]))
  }

  /// The loop of C beside the definition in Swift. With the last scale a fused multiply-add would show, at index
  /// 150,760.
  @Test(arguments: [(0, 0.0234375), (1, 0.5), (1, 0.37)])
  func aRunTakesTheValuesOfTheDefinition(offset: Double, scale: Double) {
    let values = SeededValues(seed: 2411, name: "norm.weight", offset: offset, scale: scale)
    let counts = Array(0...70) + [1023, 1024, 1025, 4099]
    for first in [0, 1, 7, 4096, 150_759, 12_345_677, 352_321_535, 1 << 31 - 9, 1 << 32 - 40] {
      for count in counts {
        let defined = (0..<count).map { values[UInt32(truncatingIfNeeded: first + $0)] }
        let floats: [Float] = taken(values, first, count)
        let doubles: [Double] = taken(values, first, count)
        #expect(floats == defined && doubles == defined.map(Double.init), "\(count) values from \(first)")
      }
    }
  }

  private func taken<Scalar: BLASScalar>(_ values: SeededValues, _ first: Int, _ count: Int) -> [Scalar] {
    let tensor = StoredTensor(name: "", dtype: .bf16, shape: [1, 1 << 33], source: .seeded(values))
    return tensor.values(first..<first + count)
  }

  @Test("An unknown name is refused with the known ones")
  func unknownName() throws {
    let error = try refusal { try Checkpoint("seeded:huge") }
    #expect(error.expected == "seeded:pixtral-large, seeded:small or seeded:tiny")
  }

  private func oracleModel(_ model: String) throws -> JSON {
    let models = try #require(JSON(file: "\(fixtures)/seeded/values.json")["checkpoints"]?.array)
    return try #require(models.first { $0["checkpoint"]?.string == model })
  }

  private func oracle(_ model: String) throws -> [JSON] { try #require(oracleModel(model)["tensors"]?.array) }

  private func bits(_ weight: StoredTensor, _ index: Int) -> UInt32 {
    let row = index / weight.columns
    let values: Matrix<Float> = weight.rows(row..<row + 1)
    return values[0, index % weight.columns].bitPattern >> 16
  }

  private func hex(_ bits: UInt32) -> String { "0x" + String(String(0x10000 + bits, radix: 16).dropFirst()) }
}
