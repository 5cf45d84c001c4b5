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
