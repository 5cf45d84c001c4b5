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
      (#"{"w":{"dtype":"I128","shape":[1],"data_offsets":[0,8]}}"#, "a dtype of"),
      (#"{"w":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}}"#, "a dtype of"),
      (#"{"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, "dtype, shape and two data_offsets"),
      (#"{"w":{"dtype":"U8","shape":[-0],"data_offsets":[0,8]}}"#, "dtype, shape and two data_offsets"),
      (#"{"w":{"dtype":"F4","shape":[15],"data_offsets":[0,8]}}"#, "a shape of whole bytes"),
      (#"{"w":null}"#, "dtype, shape and two data_offsets"),
      (
        #"{"w":{"dtype":"U8","shape":\#([Int](repeating: 1, count: 65)),"data_offsets":[0,8]}}"#,
        "64 dimensions"
      ),
      (#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, "a shape"),
      (#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, "bytes within"),
      (#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#, "dtype, shape and two data_offsets"),
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

  @Test(
    "A tensor twice, or a key twice at any depth of the header, is refused",
    arguments: [
      #"{"w":WHOLE,"w":WHOLE}"#, #"{"w":WHOLE,"\u0077":WHOLE}"#,
      #"{"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
      #"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":[{"w":1,"w":2}]}}"#,
      #"{"__metadata__":{"w":"1","w":"2"},"v":WHOLE}"#,
    ])
  func twice(text: String) throws {
    let whole = #"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#
    let error = try refusal { try open(header(text.replacing("WHOLE", with: whole))) }
    #expect(error.found.contains("twice in one object"), "\(error)")
  }

  /// The sizes of eight values, as safetensors 0.8 counts them.
  @Test(
    "A tensor of any dtype is listed, though few dtypes are computed with",
    arguments: [
      ("BOOL", 8), ("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6), ("U8", 8), ("I8", 8), ("F8_E5M2", 8),
      ("F8_E4M3", 8), ("F8_E8M0", 8), ("F8_E4M3FNUZ", 8), ("F8_E5M2FNUZ", 8), ("I16", 16), ("U16", 16),
      ("F16", 16), ("BF16", 16), ("I32", 32), ("U32", 32), ("F32", 32), ("F64", 64), ("I64", 64), ("U64", 64),
      ("C64", 64),
    ])
  func dtypes(name: String, bytes: Int) throws {
    let text = #"{"w":{"dtype":"\#(name)","shape":[2,4],"data_offsets":[0,\#(bytes)]}}"#
    let tensor = try open(header(text, dataBytes: bytes)).tensors[0]
    #expect(tensor.typeName == name)
    #expect(tensor.range.count == bytes)
    #expect((tensor.dtype != nil) == ["BF16", "F16", "F32", "F64"].contains(name))
  }

  @Test(
    "Scalars and empty tensors are tensors, however large the other sizes",
    arguments: [
      ("[]", 8), ("[0]", 0), ("[3,0,2]", 0), ("[9223372036854775807,2,0]", 0), ("[0,9223372036854775807]", 0),
    ])
  func scalarsAndEmpty(shape: String, bytes: Int) throws {
    let text = #"{"w":{"dtype":"F64","shape":\#(shape),"data_offsets":[0,\#(bytes)]}}"#
    #expect(try open(header(text, dataBytes: bytes)).tensors[0].range.count == bytes)
  }

  @Test("A name with a NUL is another name, and stays whole")
  func nulInName() throws {
    let text =
      #"{"t\u0000x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"t":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#
    #expect(try open(header(text)).tensors.map(\.name) == ["t\0x", "t"])
  }

  @Test("Two spellings of one name are refused")
  func canonicalEquivalence() throws {
    let text =
      #"{"é":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"e\u0301":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#
    let error = try refusal { try open(header(text)) }
    #expect(error.found == "a second that Unicode takes for the same")
  }

  @Test(
    "Metadata is an object of strings of any name, or null, or not there",
    arguments: [
      #""__metadata__":null,"#, #""__metadata__":{},"#, "",
      #""__metadata__":{"data_offsets":"a","dtype":"b","__metadata__":"c"},"#,
    ])
  func metadata(text: String) throws {
    let file = try open(header(#"{\#(text)"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}"#))
    #expect(file.tensors.map(\.name) == ["w"])
  }

  @Test("Keys of a tensor that mean nothing are passed over, and so is white space around the header")
  func more() throws {
    let text = #" \#t{"w":{"more":{"a":[1,{}]},"dtype":"U8","shape":[8],"data_offsets":[0,8],"n":1e5}} \#n"#
    #expect(try open(header(text)).tensors.count == 1)
  }

  @Test(
    "What is no safetensors file is named",
    arguments: [
      ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 8\n", "a Git LFS pointer"),
      ("<!DOCTYPE html><html></html>", "an HTML page"), ("\n<HTML lang=en>", "an HTML page"),
      ("GGUF\u{3}\0\0\0\0\0\0\0", "a GGUF file"),
      ("PK\u{3}\u{4}\0\0\0\0\0\0", "a ZIP archive (torch.save writes one)"),
    ])
  func otherFormats(text: String, name: String) throws {
    #expect(try refusal { try open(Array(text.utf8)) }.found == name)
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
    #expect(folder.contents == ["out.safetensors.pixtral-ref-partial"])
    try [Float(3), 4].withUnsafeBytes { try writer.write($0) }
    try writer.finish()
    #expect(folder.contents == ["out.safetensors"])
    let tensor = try Safetensors(path).tensors[0]
    #expect(tensor.shape == [1, 2])
    #expect(tensor.range.lowerBound % 8 == 0)
  }
}
