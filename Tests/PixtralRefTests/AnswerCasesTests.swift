import PixtralReference
import PixtralStorage
import TestSupport
import Testing

/// The judge of given answers, with answers in files.
@Suite("Cases of answers")
struct AnswerCasesTests {
  let folder: TemporaryFolder
  let golden: [Double]

  init() throws {
    folder = try TemporaryFolder()
    let file = try Safetensors("\(fixtures)/cases/answer/tiny/cases.safetensors")
    let tensor = try #require(file.tensors.first { $0.name == "text/logprobs" })
    golden = try StoredTensor(tensor, of: file.file).vector()
  }

  /// The verdict on log-probabilities of answer/tiny/text, in float32.
  private func verdict(_ values: [Double], shape: [Int]? = nil) throws -> (verdict: String?, tap: String?) {
    var file = TensorFile()
    file.addDoubles("logprobs", shape ?? [1, values.count], values)
    try folder.write("out/answer/tiny/text/output.safetensors", file.bytes)
    let result = try outcome(
      of: program([
        "conformance", "run", "--json", "--results", "\(folder.path)/out", "--cases", "answer/tiny/text",
      ]))
    let found = try JSON(parsing: result.out, place: "stdout")["cases"]?.array?.first
    return (found?["verdict"]?.string, found?["tap"]?.string)
  }

  @Test("The golden log-probabilities pass, as a row or as a list")
  func right() throws {
    #expect(try verdict(golden).verdict == "passed")
    #expect(try verdict(golden, shape: [64]).verdict == "passed")
  }

  @Test("Those of the position after fail, and the tap is logprobs")
  func oneLate() throws {
    let found = try verdict(Array(golden.dropFirst()) + [golden[0]])
    #expect(found.verdict == "failed" && found.tap == "logprobs")
  }

  @Test("To the base of 10 they fail")
  func base10() throws {
    #expect(try verdict(golden.map { $0 / 2.302585092994046 }).verdict == "failed")
  }

  @Test("After a temperature of 0.99 they fail")
  func temperature() throws {
    #expect(try verdict(golden.map { $0 / 0.99 }).verdict == "failed")
  }

  @Test("One that is no number fails")
  func notFinite() throws {
    #expect(try verdict([.nan] + golden.dropFirst()).verdict == "failed")
  }

  @Test("Fewer of them than tokens of the answer fail")
  func fewer() throws {
    #expect(try verdict(Array(golden.dropLast())).verdict == "failed")
  }

  @Test("The question has the prompt, the answer, and the checkpoint beside it")
  func question() throws {
    let out = "\(folder.path)/questions"
    _ = try outcome(of: program(["conformance", "export", out, "--cases", "answer/tiny/*"]))
    let question = try JSON(file: "\(out)/answer/tiny/two-images/question.json")
    #expect(question["op"]?.string == "answer")
    #expect(question["answer"]?.integers?.count == 64)
    #expect(question["tensors"]?.string == "pixels.safetensors")
    let images = try Safetensors("\(out)/answer/tiny/two-images/pixels.safetensors")
    #expect(images.tensors.map(\.name).sorted() == ["image0", "image1"])
    #expect(try #require(question["checkpoint"]?.string) == "../../../seeded-tiny-mistral")
  }
}
