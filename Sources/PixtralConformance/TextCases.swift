import PixtralReference
import PixtralStorage
import PixtralText

// Stage tokens and stage grid: what is asked stands in the line, and the answer is equal or wrong.

extension Asking {
  func tokens(_ question: ConformanceCase) throws -> CaseVerdict {
    let inputs = question.inputs
    let ask: (op: String, members: [(key: String, json: [UInt8])])
    switch question.operation {
    case "render a V7 request":
      let request = (key: "request", json: question.request ?? [])
      switch inputs["form"]?.text {
      case nil: ask = ("render", [request])
      case "openai":
        guard runtime.description.features.contains("tokens.openai") else {
          return lacks(question, "tokens.openai")
        }
        ask = ("render", [request, ("form", inputs["form"].jsonBytes)])
      case let form?: return lacks(question, "requests of the form \(form)")
      }
    case "cut a V7 request to a number of tokens":
      guard runtime.description.features.contains("tokens.truncation") else {
        return lacks(question, "tokens.truncation")
      }
      ask = ("render", [("request", question.request ?? []), ("max_tokens", inputs["max_tokens"].jsonBytes)])
    case "render a request to fill in the middle":
      guard runtime.description.features.contains("tokens.fim") else { return lacks(question, "tokens.fim") }
      ask = ("fim", [("fim", inputs["fim"].jsonBytes)])
    case "encode one stretch of text": ask = ("encode", [("text", inputs["text"].jsonBytes)])
    case "decode tokens": ask = ("decode", [("tokens", inputs["tokens"].jsonBytes)])
    case let other: return lacks(question, other)
    }
    return try judged(question, runtime.ask(question, ask.op, ask.members)) { answer in
      question.operation == "decode tokens" ? text(answer, question) : ids(answer, question)
    }
  }

  private func ids(_ answer: JSON, _ question: ConformanceCase) -> CaseVerdict {
    let expected = question.expect["tokens"]?.integers ?? []
    if answer["tokens"] == nil, case .integer(let count)? = answer["count"] {
      return verdict(onCount: count, expected, question)
    }
    guard let found = answer["tokens"]?.integers else {
      let what =
        answer["count"] == nil ? "no array of integers under tokens" : "no number of tokens under usage"
      return CaseVerdict(question, .malformed, what)
    }
    return explained(verdict(onTokens: found, expected, question), FaultAnswers.written(found))
  }

  /// Of a server that tells how many tokens there are, and not which.
  func verdict(onCount count: Int, _ expected: [Int], _ question: ConformanceCase) -> CaseVerdict {
    count == expected.count
      ? CaseVerdict(question, .passed, "by their number alone")
      : CaseVerdict(question, .failed, "\(expected.count) tokens expected, \(count) counted")
  }

  func verdict(onTokens found: [Int], _ expected: [Int], _ question: ConformanceCase) -> CaseVerdict {
    if found == expected { return CaseVerdict(question, .passed) }
    let at =
      zip(found, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset
      ?? min(found.count, expected.count)
    func text(_ id: Int) -> String? {
      tokenizer.vocabulary.pieces.indices.contains(id) ? tokenizer.vocabulary.pieces[id].text : nil
    }
    func piece(_ tokens: [Int]) -> String {
      guard at < tokens.count else { return "the end" }
      return "\(tokens[at])" + (text(tokens[at]).map { " (\($0))" } ?? "")
    }
    return CaseVerdict(
      question, .failed,
      "token \(at): expected \(piece(expected)), found \(piece(found)); \(expected.count) tokens expected, \(found.count) found",
      evidence: shown(question) {
        .tokens(TokenWindow(expected: expected, found: found, differAt: at, pieces: text))
      })
  }

  private func text(_ answer: JSON, _ question: ConformanceCase) -> CaseVerdict {
    guard case .string(let found)? = answer["text"] else {
      return CaseVerdict(question, .malformed, "no string under text")
    }
    let expected = question.expect["text"]?.text ?? ""
    // Two spellings of one character are two texts.
    let isRight = found.utf8.elementsEqual(expected.utf8)
    let verdict =
      isRight
      ? CaseVerdict(question, .passed)
      : CaseVerdict(
        question, .failed,
        "expected \"\(shortened(expected, to: 60))\", found \"\(shortened(found, to: 60))\"",
        evidence: shown(question) { .texts(TextWindow(expected: expected, found: found)) })
    return explained(verdict, Array(found.utf8))
  }

  func grid(_ question: ConformanceCase) throws -> CaseVerdict {
    let members = ["width", "height"].map { (key: $0, json: question.inputs[$0].jsonBytes) }
    return try judged(question, runtime.ask(question, "grid", members)) { answer in
      guard case .integer(let columns)? = answer["columns"], case .integer(let rows)? = answer["rows"] else {
        return CaseVerdict(question, .malformed, "no integers under columns and rows")
      }
      let expected = (question.expect["columns"]?.integer ?? 0, question.expect["rows"]?.integer ?? 0)
      let verdict =
        (columns, rows) == expected
        ? CaseVerdict(question, .passed)
        : CaseVerdict(
          question, .failed, "expected \(expected.0)×\(expected.1) patches, found \(columns)×\(rows)")
      return explained(verdict, Array("\(columns)x\(rows)".utf8))
    }
  }
}

extension PythonValue? {
  /// Its JSON text, in one line.
  var jsonBytes: [UInt8] {
    var bytes: [UInt8] = []
    (self ?? .none).write(to: &bytes, compact: true)
    return bytes
  }
}
