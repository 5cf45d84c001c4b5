import PixtralReference
import PixtralStorage

// Stage answer: what the model says of the tokens of an answer that is given.

extension Asking {
  func answer(_ question: ConformanceCase) throws -> CaseVerdict {
    guard let model = question.model else {
      throw InputError(.wrongRequest, "\(question.id), model", expected: "a checkpoint", found: "none")
    }
    if let failure = try load(model, for: question) { return failure }
    var images = Array("null".utf8)
    if question.inputs["tensors"] != nil {
      let path = try "\(runtime.inputFolder(of: question))/pixels.safetensors"
      try writeInputs(of: question, to: path)
      images = JSON.string(path).bytes
    }
    let answer = try runtime.ask(
      question, "answer",
      [
        ("tokens", question.inputs["tokens"].jsonBytes), ("tensors", images),
        ("answer", question.inputs["answer"].jsonBytes),
      ])
    return try judged(question, answer, output: "logprobs")
  }
}
