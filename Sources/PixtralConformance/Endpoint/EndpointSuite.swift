import PixtralReference
import PixtralStorage
import PixtralText

/// What an endpoint is asked beside the cases of its tokens, what is right, and what each mistake answers:
/// `Fixtures/endpoint` and `Fixtures/faults`, which Tools/goldens/make_endpoint_cases.py makes.
package struct EndpointSuite {
  /// All of stage `endpoint`.
  package let cases: [ConformanceCase]
  private let goldens: Safetensors
  /// In the order of the file.
  let suspects: [KnownSuspect]

  /// - fixtures: such as `Fixtures`.
  /// - Throws: `InputError` for files that are not what the maker writes.
  package init(_ fixtures: String) throws {
    let (folder, faults) = ("\(fixtures)/endpoint", "\(fixtures)/faults/endpoint")
    cases = try CaseFiles(folder).cases
    goldens = try Safetensors(MappedFile(plain: "\(folder)/small.safetensors"))
    let told = try Safetensors(MappedFile(plain: "\(faults).safetensors"))
    let rows = try Self.rows(told, "")
    suspects = try jsonLines("\(faults).jsonl").map { try KnownSuspect($0.json, rows, $0.place) }
  }

  /// The case of a prompt's tokens, which has its request.
  func tokensCase(_ prompt: String) -> ConformanceCase? {
    cases.first { $0.id == "endpoint/tokens/\(prompt)" }
  }

  private func logprobsCase(_ prompt: String) -> ConformanceCase? {
    cases.first { $0.id == "endpoint/logprobs/\(prompt)" }
  }

  /// The prompt that a case is about, if it is one.
  func prompt(of question: ConformanceCase) -> String? {
    let tokens = "endpoint/tokens/"
    return question.id.hasPrefix(tokens)
      ? String(question.id.dropFirst(tokens.utf8.count)) : question.inputs["prompt"]?.text
  }

  /// The request of a prompt.
  func request(_ prompt: String) -> PythonValue? { tokensCase(prompt)?.inputs["request"] }

  func tokens(_ prompt: String) -> [Int]? { tokensCase(prompt)?.expect["tokens"]?.integers }

  /// How many tokens of an answer are known behind a prompt; nil where its tokens alone are.
  func positions(_ prompt: String) -> Int? { logprobsCase(prompt)?.expect["answer"]?.integers?.count }

  /// The prompts whose log-probabilities are known, in the order of the cases.
  var prompts: [String] {
    cases.filter { $0.id.hasPrefix("endpoint/logprobs/") }.compactMap { $0.inputs["prompt"]?.text }
  }

  /// What is right behind a prompt.
  func golden(_ prompt: String) throws -> Golden {
    guard let question = logprobsCase(prompt), let answer = question.expect["answer"]?.integers,
      let own = goldens.tensors.first(where: { $0.name == "\(prompt)/prompt_logprobs" })
    else {
      throw InputError(
        .wrongRequest, "endpoint/logprobs/\(prompt)", expected: "an answer and its tensors", found: "none")
    }
    let prompts: [Float] = try StoredTensor(own, of: goldens.file).vector()
    return try Golden(
      answer: answer, positions: Self.rows(goldens, "\(prompt)/top_"), prompt: prompts.map(Double.init),
      noise: question.noise("kl"))
  }

  /// Tokens and log-probabilities, a row a position.
  private static func rows(_ file: Safetensors, _ prefix: String) throws -> [[KnownToken]] {
    func tensor(_ name: String) throws -> Safetensors.Tensor {
      guard let tensor = file.tensors.first(where: { $0.name == prefix + name }), tensor.shape.count == 2
      else {
        throw InputError(
          .wrongRequest, "\(file.file.path), \(prefix + name)", expected: "a matrix", found: "none")
      }
      return tensor
    }
    let (ids, logprobs) = (try tensor("tokens"), try tensor("logprobs"))
    let values: [Double] = try StoredTensor(logprobs, of: file.file).vector()
    let columns = logprobs.shape[1]
    guard ids.typeName == "I32", ids.shape == logprobs.shape else {
      throw InputError(
        .wrongRequest, "\(file.file.path), \(ids.name)", expected: "I32 of the shape \(logprobs.shape)",
        found: "\(ids.typeName) of \(ids.shape)")
    }
    return file.file.withBytes { bytes in
      (0..<logprobs.shape[0]).map { row in
        (0..<columns).map { column in
          let n = row * columns + column
          let id = bytes.loadUnaligned(fromByteOffset: ids.range.lowerBound + 4 * n, as: Int32.self)
          return KnownToken(id: Int(id), logprob: values[n])
        }
      }
    }
  }
}

/// What is right behind a prompt.
struct Golden {
  /// The tokens that are likeliest one after another.
  let answer: [Int]
  /// Behind the prompt, and behind each token of the answer but the last: the likeliest tokens.
  let positions: [[KnownToken]]
  /// The log-probability of each token of the prompt but the first.
  let prompt: [Double]
  /// Mean divergences of right runs.
  let noise: [Arithmetic: Double]
}

/// What a mistake answers, where that is not what is right.
struct KnownSuspect {
  /// What it answers to a prompt.
  struct Answer {
    /// The tokens, if they are others: how many, and a hash.
    let tokens: (count: Int, hash: String)?
    /// The likeliest tokens behind the prompt, if they are others.
    let best: [KnownToken]?
  }

  /// The id of a mistake of Faults.md, perhaps with its form, or what becomes of a request, in words.
  let name: String
  /// nil where nobody can say.
  let answers: [String: Answer?]

  init(_ json: JSON, _ rows: [[KnownToken]], _ place: String) throws {
    guard case .string(let name)? = json["suspect"], case .object(let prompts)? = json["prompts"] else {
      throw InputError(.wrongRequest, place, expected: "suspect and prompts", found: "something else")
    }
    self.name = name
    var answers: [String: Answer?] = [:]
    for member in prompts {
      guard member.value != .null else {
        answers[member.key] = .some(nil)
        continue
      }
      var (tokens, best): ((Int, String)?, [KnownToken]?)
      if case .integer(let count)? = member.value["count"], case .string(let hash)? = member.value["tokens"] {
        tokens = (count, hash)
      }
      if case .integer(let row)? = member.value["row"], rows.indices.contains(row) { best = rows[row] }
      answers[member.key] = Answer(tokens: tokens, best: best)
    }
    self.answers = answers
  }

  /// Its id in Faults.md, if it has one.
  var id: String? {
    let id = String(name.prefix { $0 != "~" })
    let parts = id.split(separator: "-", maxSplits: 1)
    return parts.count == 2 && parts[0].count == 1 && !id.contains(" ") ? id : nil
  }
}
