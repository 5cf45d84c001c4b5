import PixtralStorage
import TestSupport
import Testing

/// Single steps in a session: pixtral-ref's answers, and the kit's verdicts.
@Suite("Steps of a session")
struct StepSessionTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// The answers of `conformance session` to some questions.
  private func answers(_ questions: [String]) throws -> [JSON] {
    let hello = #"{"op":"hello","protocol":1,"folder":"\#(folder.path)"}"#
    try folder.write("questions", ([hello] + questions).joined(separator: "\n") + "\n")
    let result = try shell(#""$0" conformance session --precision float64 < questions"#, in: folder.path)
    #expect(result.code == 0, "\(result.error)")
    return try result.out.split(separator: "\n").dropFirst().map {
      try JSON(parsing: String($0), place: "an answer")
    }
  }

  @Test("A step is answered with a file that has its output")
  func answered() throws {
    var file = TensorFile()
    file.add("x", [2, 2], [0, 8, -8, 16])
    try folder.write("in.safetensors", file.bytes)
    let answer = try answers([
      #"{"op":"step","id":7,"stage":"gelu","parameters":{},"tensors":"in.safetensors"}"#
    ])[0]
    #expect(answer["id"]?.integer == 7)
    let output = try Safetensors(try #require(answer["tensors"]?.string))
    #expect(output.tensors.map(\.name) == ["output"])
    #expect(output.tensors[0].typeName == "F64" && output.tensors[0].shape == [2, 2])
  }

  @Test("A stage that is not done is unsupported, and hostile parameters are refused; the session goes on")
  func refused() throws {
    var file = TensorFile()
    file.add("x", [2, 4], [Float](repeating: 1, count: 8))
    try folder.write("in.safetensors", file.bytes)
    func step(_ stage: String, _ parameters: String, _ tensors: String = "in.safetensors") -> String {
      #"{"op":"step","id":1,"stage":"\#(stage)","parameters":\#(parameters),"tensors":"\#(tensors)"}"#
    }
    let unsupported = try answers([step("convolution_3d", "{}"), #"{"op":"step","id":1}"#])
    #expect(unsupported[0]["unsupported"] != nil)
    let wrong = [
      step("rms_norm", "{}"), step("rms_norm", "null"), step("rms_norm", "[]"),
      step("rotary", #"{"heads":0,"head_dim":4,"theta":1,"positions":[0,1]}"#),
      step("rotary", #"{"heads":1,"head_dim":4,"theta":NaN,"positions":[0,1]}"#),
      step("gelu", "{}", "none.safetensors"), step("attention", "{}"),
      step("patch_conv", #"{"patch_size":2}"#),
      step("prefill", #"{"position":-1}"#),
    ]
    let found = try answers(wrong + [step("gelu", "{}")])
    #expect(found.count == wrong.count + 1)
    for answer in found.dropLast() { #expect(answer["reject"]?["message"]?.string?.isEmpty == false) }
    #expect(found.last?["tensors"] != nil)
  }

  /// Runs one case of a step with a runtime whose answer to it is this file.
  private func verdict(of file: TensorFile) throws -> JSON {
    try folder.write("answer.safetensors", file.bytes)
    try folder.write(
      "runtime",
      #"""
      read hello
      echo '{"name":"shell","version":"1","arithmetic":"float32","features":["step"]}'
      read question
      echo "{\"id\":1,\"tensors\":\"$PWD/answer.safetensors\"}"
      """#)
    let result = try shell(
      #""$0" conformance run --json --cases steps/gelu/one-value --runtime 'sh runtime'"#, in: folder.path)
    let report = try JSON(parsing: result.out, place: "stdout")
    return try #require(report["cases"]?.array?.first)
  }

  private func output(_ shape: [Int], _ values: [Float], named name: String = "output") -> TensorFile {
    var file = TensorFile()
    file.add(name, shape, values)
    return file
  }

  @Test("A step's output is judged by its distance, its shape and its dtype, and named by its tap")
  func judged() throws {
    // GELU of −0.75 is −0.1699706…
    #expect(try verdict(of: output([1, 1], [-0.169_970_6]))["verdict"] == "passed")
    let tanh = try verdict(of: output([1, 1], [-0.170_04]))
    #expect(tanh["verdict"] == "failed")
    #expect(tanh["tap"] == "adapter.gelu")
    #expect(try verdict(of: output([1, 1], [.nan]))["verdict"] == "failed")
    #expect(try verdict(of: output([2, 1], [1, 1]))["detail"]?.string?.contains("shape") == true)
    #expect(try verdict(of: output([1, 1], [1], named: "result"))["verdict"] == "malformed")
    var integers = TensorFile()
    integers.tensors = [(name: "output", dtype: "I32", shape: [1, 1], bytes: [0, 0, 0, 0])]
    #expect(try verdict(of: integers)["verdict"] == "malformed")
  }
}
