import PixtralProgram
import PixtralReference
import PixtralStorage
import PixtralText

/// What is said of an answer: an object for programs, a table for people.
struct AnswerReport {
  let answer: Answer
  let calls: AnsweredCalls

  init(_ answer: Answer, calls: AnsweredCalls) { (self.answer, self.calls) = (answer, calls) }

  var json: JSON {
    var members: [(String, JSON)] = [
      ("text", .string(calls.calls.isEmpty ? answer.text : calls.content)),
      ("tokens", .array(answer.tokens.map { .integer($0.id) })),
      ("logprobs", .array(answer.tokens.map { .number($0.logProbability) })),
    ]
    if answer.tokens.contains(where: { !$0.best.isEmpty }) {
      let best = answer.tokens.map { token in
        JSON.array(token.best.map { ["token": .integer($0.id), "logprob": .number($0.logProbability)] })
      }
      members.append(("top_logprobs", .array(best)))
    }
    members.append(
      (
        "finish_reason",
        .string(calls.calls.isEmpty || answer.finish != .stop ? answer.finish.rawValue : "tool_calls")
      ))
    let (prompt, count) = (answer.promptTokens, answer.tokens.count)
    members.append(
      (
        "usage",
        [
          "prompt_tokens": .integer(prompt), "completion_tokens": .integer(count),
          "total_tokens": .integer(prompt + count),
        ]
      ))
    if !calls.calls.isEmpty { members.append(("tool_calls", .array(calls.calls.map(\.json)))) }
    if let problem = calls.problem { members.append(("tool_calls_problem", .string(problem))) }
    return .object(members.map { JSON.Member(key: $0.0, value: $0.1) })
  }

  /// A row a position.
  func table(_ tokenizer: Tokenizer) -> [String] {
    func piece(_ id: Int) -> String { tokenizer.pieces(of: [id])[0] }
    let title = ["position", "id", "piece", "logprob", "most likely"]
    let rows = answer.tokens.enumerated().map { n, token in
      [
        "\(answer.promptTokens + n)", "\(token.id)", piece(token.id), Console.short(token.logProbability),
        token.best.map { "\(piece($0.id)) \(Console.short($0.logProbability))" }.joined(separator: "  "),
      ]
    }
    return Console.table([title] + rows)
  }
}

extension AnsweredCalls.Call {
  var json: JSON {
    [
      "id": .string(id), "type": "function",
      "function": ["name": .string(name), "arguments": .string(arguments)],
    ]
  }
}
