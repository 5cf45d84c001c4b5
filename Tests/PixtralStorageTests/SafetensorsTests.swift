import TestSupport
import Testing

@testable import PixtralStorage

@Suite("Safetensors")
struct SafetensorsTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func open(_ bytes: [UInt8]) throws -> Safetensors {
    try Safetensors(folder.write("x.safetensors", bytes))
  }

  private func header(_ text: String, dataBytes: Int = 8) -> [UInt8] {
    TensorFile.bytes(header: text, data: [UInt8](repeating: 0, count: dataBytes))
  }

  @Test("Tensors come in the order of their bytes, whatever the header's order")
  func orderOfBytes() throws {
    let file = try open(
      header(
        #"{"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#
      ))
    #expect(file.tensors.map(\.name) == ["a", "b"])
  }

  @Test("A file cut off anywhere is refused")
  func truncated() throws {
    var file = TensorFile()
    file.add("w", [2, 2], [1, 2, 3, 4])
    for count in 0..<file.bytes.count {
      let error = try refusal { try open(Array(file.bytes.prefix(count))) }
      #expect(error.kind == .malformedSafetensors || error.kind == .malformedJSON)
    }
  }

  @Test("A header longer than the file is refused")
  func longHeader() throws {
    let error = try refusal { try open([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x7b, 0x7d]) }
    #expect(error.advice == "the file is cut off or is no safetensors file")
  }

  @Test("Bytes after the last tensor are refused")
  func trailingBytes() throws {
    var file = TensorFile()
    file.add("w", [1], [1])
    #expect(try refusal { try open(file.bytes + [0]) }.kind == .malformedSafetensors)
  }

  @Test(
    "A header that contradicts itself is refused",
    arguments: [
      (#"[]"#, "a JSON object"),
      (
        #"{"__metadata__":{"format":1},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        "an object of strings, or null"
      ),
      (#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, "8 bytes"),
      (#"{"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, "a dtype of"),
      (#"{"w":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}}"#, "a dtype of"),
      (#"{"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, "a shape"),
      (#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, "a shape"),
      (#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, "bytes within"),
      (#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#, "bytes within"),
      (#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#, "bytes within"),
      (#"{"w":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}"#, "dtype, shape and two data_offsets"),
      (#"{"w":{"dtype":"F32","shape":[2]}}"#, "dtype, shape and two data_offsets"),
      (#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, "to begin at byte 0"),
      (
        #"{"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        "to begin at byte 8"
      ),
    ])
  func contradictions(header text: String, expected: String) throws {
    let error = try refusal { try open(header(text)) }
    #expect(error.expected.contains(expected), "\(error)")
    #expect(error.kind == .malformedSafetensors)
  }

  @Test("A tensor twice, or a key of one twice, is refused")
  func twice() throws {
    let tensor = #""w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#
    let dtype = #"{"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#
    for text in ["{\(tensor),\(tensor)}", dtype] {
      #expect(try refusal { try open(header(text)) }.found == "a key that an object has twice")
    }
  }

  @Test("Overlapping tensors are named")
  func overlap() throws {
    let error = try refusal {
      try open(
        header(
          #"{"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#
        ))
    }
    #expect(error.advice == "two tensors overlap")
    #expect(error.place.hasSuffix("tensor w"))
  }

  @Test("A written file reads back, and has another name until it is whole")
  func writer() throws {
    let path = "\(folder.path)/out.safetensors"
    let writer = try SafetensorsWriter(path, [.init(name: "a", dtype: .f32, shape: [1, 2])])
    #expect(folder.contents == ["out.safetensors.partial"])
    try [Float(3), 4].withUnsafeBytes { try writer.write($0) }
    try writer.finish()
    #expect(folder.contents == ["out.safetensors"])
    let tensor = try Safetensors(path).tensors[0]
    #expect(tensor.shape == [1, 2])
    #expect(tensor.range.lowerBound % 8 == 0)
  }
}
