import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Stored tensors")
struct StoredTensorTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test("Values of every dtype are read, wherever they lie")
  func dtypes() throws {
    // 1.5 and −2 in each dtype; the header's length of 5 modulo 8 leaves the data unaligned.
    let stored: [(String, [UInt8])] = [
      ("BF16", [0xc0, 0x3f, 0x00, 0xc0]), ("F16", [0x00, 0x3e, 0x00, 0xc0]),
      ("F32", [0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0]),
      ("F64", [0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0]),
    ]
    for (dtype, data) in stored {
      var text = #"{"w":{"dtype":"\#(dtype)","shape":[2],"data_offsets":[0,\#(data.count)]}}"#
      while text.utf8.count % 8 != 5 { text += " " }
      let file = try Safetensors(folder.write("x.safetensors", TensorFile.bytes(header: text, data: data)))
      let tensor = try StoredTensor(file.tensors[0], of: file.file)
      let floats: [Float] = tensor.vector()
      let doubles: [Double] = tensor.vector()
      #expect(floats == [1.5, -2])
      #expect(doubles == [1.5, -2])
    }
  }

  /// Swift's own conversions are the definition: subnormal numbers, infinities and NaNs too.
  @Test(arguments: ["BF16", "F16"])
  func everyValueOfSixteenBitsIsWidenedToTheBit(dtype: String) throws {
    // Shifted by one, two and three places, so that values fall into the whole vectors and the rests.
    for shift in 1...3 {
      let bits = (0..<65536).map { UInt16(truncatingIfNeeded: $0 + shift) }
      let data = bits.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
      var text = #"{"w":{"dtype":"\#(dtype)","shape":[65536],"data_offsets":[0,131072]}}"#
      while text.utf8.count % 8 != 5 { text += " " }
      let file = try Safetensors(folder.write("x.safetensors", TensorFile.bytes(header: text, data: data)))
      let tensor = try StoredTensor(file.tensors[0], of: file.file)
      let expected = bits.map {
        dtype == "F16" ? Float(Float16(bitPattern: $0)) : Float(bitPattern: UInt32($0) << 16)
      }
      for count in [65536, 65535, 65521] {
        let floats: [Float] = tensor.values(0..<count)
        let doubles: [Double] = tensor.values(0..<count)
        #expect(floats.map(\.bitPattern) == expected.prefix(count).map(\.bitPattern))
        #expect(doubles.map(\.bitPattern) == expected.prefix(count).map { Double($0).bitPattern })
      }
    }
  }

  @Test("A block has the values that the whole has at its rows and columns")
  func block() throws {
    var tensors = TensorFile()
    tensors.add("w", [4, 3], [0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32])
    let file = try Safetensors(folder.write("x.safetensors", tensors.bytes))
    let tensor = try StoredTensor(file.tensors[0], of: file.file)
    let block: Matrix<Double> = tensor.block(rows: 1..<3, columns: 1..<3)
    #expect(block.rows == 2 && block.columns == 2)
    #expect(block.values == [11, 12, 21, 22])
    tensor.forget(rows: 1..<3)
    #expect(tensor.block(rows: 2..<3, columns: 0..<3).values == [20, 21, 22] as [Float])
  }

  @Test("A dtype that is not computed with is refused when its values are asked for")
  func otherDType() throws {
    let text = #"{"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#
    let bytes = TensorFile.bytes(header: text, data: [UInt8](repeating: 0, count: 8))
    let file = try Safetensors(folder.write("x.safetensors", bytes))
    let error = try refusal { try StoredTensor(file.tensors[0], of: file.file) }
    #expect(
      "\(error)".hasSuffix("tensor w: expected a dtype of BF16, F16, F32, F64, found I64; convert it first"))
  }

  @Test("An empty tensor has no columns, however large its sizes")
  func empty() throws {
    let text = #"{"w":{"dtype":"F32","shape":[1,4611686018427387904,2,0],"data_offsets":[0,0]}}"#
    let file = try Safetensors(folder.write("x.safetensors", TensorFile.bytes(header: text, data: [])))
    #expect(try StoredTensor(file.tensors[0], of: file.file).columns == 0)
  }
}
