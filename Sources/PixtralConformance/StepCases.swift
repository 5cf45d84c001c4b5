import PixtralReference
import PixtralStorage
import PixtralText

// Stage steps: one operation or stage of the model on golden inputs.

extension Asking {
  func step(_ question: ConformanceCase) throws -> CaseVerdict {
    let subject = question.json["subject"]
    let input = try "\(runtime.inputFolder(of: question))/step.safetensors"
    try writeInputs(of: question, to: input)
    let answer = try runtime.ask(
      question,
      "step",
      [
        ("stage", (subject?["step"]).jsonBytes), ("parameters", (subject?["parameters"]).jsonBytes),
        ("tensors", JSON.string(input).bytes),
      ])
    return try judged(question, answer, output: "output")
  }

  /// A verdict on one tensor of an answer, by the noise that the case has of right runs.
  ///
  /// - output: its name.
  func judged(_ question: ConformanceCase, _ answer: Answer, output: String) throws -> CaseVerdict {
    try judged(question, answer) { answer in
      switch try tensors(of: answer, question).flatMap({ self.output(output, $0) }) {
      case .failure(let unusable): CaseVerdict(question, .malformed, unusable.why)
      case .success(let found): try judged(found, question)
      }
    }
  }

  /// The tensors of a case in a file of their own, under the names that the stage has for them.
  func writeInputs(of question: ConformanceCase, to path: String) throws {
    guard case .dictionary(let names)? = question.inputs["tensors"] else {
      throw refusal(question, "inputs.tensors", "an object of names")
    }
    let named = try names.map { member in
      (
        name: member.key.text,
        tensor: try tensor(member.value.text ?? "", question.inputs, of: question, "inputs.tensors")
      )
    }
    let entries = named.map {
      SafetensorsWriter.Entry(name: $0.name, dtype: .f32, shape: $0.tensor.shape)
    }
    let writer = try SafetensorsWriter(entries) { try NewFile(path, room: $0, sparing: []) }
    for (_, tensor) in named {
      let values: [Float] = tensor.vector()
      try values.withUnsafeBytes { try writer.write($0) }
    }
    try writer.finish()
  }

  /// A tensor of the file that a case names.
  private func tensor(_ name: String, _ named: PythonValue, of question: ConformanceCase, _ key: String)
    throws -> StoredTensor
  {
    let golden = try Safetensors(MappedFile(plain: file(named, of: question)))
    guard let stored = golden.tensors.first(where: { $0.name == name }) else {
      throw refusal(question, key, "a tensor of \(golden.file.path)")
    }
    return try StoredTensor(stored, of: golden.file)
  }

  private func refusal(_ question: ConformanceCase, _ key: String, _ expected: String) -> InputError {
    InputError(.wrongRequest, "\(question.id), \(key)", expected: expected, found: "something else")
  }

  private func output(_ name: String, _ file: Safetensors) -> Result<StoredTensor, Unusable> {
    guard let tensor = file.tensors.first(where: { $0.name == name }) else {
      return .failure(Unusable("no tensor \(name) in \(file.file.path)"))
    }
    guard tensor.dtype != nil else {
      return .failure(Unusable("\(name) is \(tensor.typeName), and has to be F64, F32, F16 or BF16"))
    }
    do { return .success(try StoredTensor(tensor, of: file.file)) } catch {
      return .failure(Unusable("\(error)"))
    }
  }

  private func judged(_ found: StoredTensor, _ question: ConformanceCase) throws -> CaseVerdict {
    let expect = question.expect
    let golden = try tensor(expect["tensor"]?.text ?? "", expect, of: question, "expect.tensor")
    let arithmetic = runtime.description.arithmetic
    let noise = try question.noise("relF")
    guard
      let comparison = OutputComparison(found, expected: golden, noise: noise, arithmetic: arithmetic)
    else { return CaseVerdict(question, .unsupported, "right runs overflow in \(arithmetic.rawValue)") }

    let limit = comparison.limit.relF
    let explaining = try faults.sketches(question.id)?.explaining(
      limit: { _ in limit * comparison.limit.farMultiple }, found: { _ in comparison.sketch })
    func verdict(_ verdict: CaseVerdict.Verdict, _ distance: Distance, _ detail: String?) -> CaseVerdict {
      var result = CaseVerdict(
        question, verdict, detail, tap: verdict == .passed ? nil : expect["tap"]?.text,
        distance: distance.relF, limit: limit)
      result.explaining = explaining ?? [:]
      return result
    }
    func failed(_ detail: String) -> CaseVerdict {
      CaseVerdict(question, .failed, detail, tap: expect["tap"]?.text)
    }
    switch comparison.verdict {
    case .close(let distance): return verdict(.passed, distance, nil)
    case .undecided(let distance):
      return verdict(
        .undecided, distance, "between the noise of right runs and what is surely wrong")
    case .far(let distance):
      return verdict(.failed, distance, "the worst row is \(distance.worstRowIndex)")
    case .nonFinite(let row, let column):
      return failed("row \(row), column \(column) is not finite")
    case .otherShape(let expected, let found):
      return failed("expected the shape \(expected), found \(found)")
    case .otherDType, .otherNonFinite, .missing: preconditionFailure("a tensor of numbers that is there")
    }
  }
}
