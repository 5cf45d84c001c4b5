import Glibc
import PixtralReference
import PixtralStorage
import PixtralText

/// What an answer is told as: one object, or parts of a stream. Serving.md 3.
struct Completion: Sendable {
  private let request: CompletionRequest
  private let prompt: [Int]
  private let tokenizer: Tokenizer
  /// What the request and its answer are known by.
  private let id = "chatcmpl-\(String(UInt64.random(in: .min ... .max), radix: 16))"
  private let created = time(nil)
  private let model: String

  /// - prompt: its tokens.
  /// - model: the name that the request gives it.
  init(_ request: CompletionRequest, prompt: [Int], _ tokenizer: Tokenizer, model: String) {
    (self.request, self.prompt, self.tokenizer, self.model) = (request, prompt, tokenizer, model)
  }

  // MARK: - In one piece

  func whole(_ answer: Answer) throws -> JSON {
    let said = try message(answer)
    var message: [(String, JSON)] = [("role", "assistant"), ("content", said.content)]
    if !said.calls.isEmpty { message.append(("tool_calls", .array(said.calls.map(object)))) }
    var choice: [(String, JSON)] = [
      ("index", .integer(0)), ("message", object(message)),
      ("logprobs", request.tellsLogprobs ? logprobs(answer.tokens) : .null),
      ("finish_reason", .string(said.finish)), ("stop_reason", answer.stop.map(JSON.string) ?? .null),
    ]
    if request.tellsIDs { choice.append(("token_ids", ids(answer.tokens))) }
    var members = head("chat.completion", [object(choice)]) + [("usage", usage(answer))]
    if request.tellsIDs { members.append(("prompt_token_ids", .array(prompt.map(JSON.integer)))) }
    if request.options.promptBest != nil {
      members.append(("prompt_logprobs", .array([.null] + answer.prompt.map(ranked))))
    }
    return object(members)
  }

  // MARK: - In parts

  /// Before the first token.
  var first: JSON {
    let choice = choice(["role": "assistant", "content": ""])
    let told: [(String, JSON)] =
      request.tellsIDs ? [("prompt_token_ids", .array(prompt.map(JSON.integer)))] : []
    return object(head("chat.completion.chunk", [choice]) + told)
  }

  /// Some text, and the tokens that it comes from; none where the end makes more text certain.
  func part(_ text: String, _ tokens: [Answer.Token]) -> JSON {
    object(head("chat.completion.chunk", [choice(["content": .string(text)], tokens)]))
  }

  /// Behind the last token: calls, and text that might have been some.
  ///
  /// - told: how many bytes of the text the parts before have had.
  func last(_ answer: Answer, told: Int) throws -> JSON {
    let said = try message(answer)
    var delta: [(String, JSON)] = []
    if case .string(let text) = said.content, text.utf8.count > told {
      delta.append(("content", .string(String(decoding: text.utf8.dropFirst(told), as: UTF8.self))))
    }
    if !said.calls.isEmpty {
      let calls = said.calls.enumerated().map { n, call in object([("index", .integer(n))] + call) }
      delta.append(("tool_calls", .array(calls)))
    }
    let choice = choice(object(delta), finish: said.finish, stop: answer.stop)
    return object(head("chat.completion.chunk", [choice]))
  }

  /// Behind that, if the request wants it.
  func usagePart(_ answer: Answer) -> JSON? {
    guard request.includesUsage else { return nil }
    return object(head("chat.completion.chunk", []) + [("usage", usage(answer))])
  }

  // MARK: - Parts of both

  private func object(_ members: [(String, JSON)]) -> JSON {
    .object(members.map { JSON.Member(key: $0.0, value: $0.1) })
  }

  private func head(_ kind: String, _ choices: [JSON]) -> [(String, JSON)] {
    [
      ("id", .string(id)), ("object", .string(kind)), ("created", .integer(created)),
      ("model", .string(model)), ("choices", .array(choices)),
    ]
  }

  private func choice(
    _ delta: JSON, _ tokens: [Answer.Token] = [], finish: String? = nil, stop: String? = nil
  ) -> JSON {
    var members: [(String, JSON)] = [
      ("index", .integer(0)), ("delta", delta),
      ("logprobs", request.tellsLogprobs && !tokens.isEmpty ? logprobs(tokens) : .null),
      ("finish_reason", finish.map(JSON.string) ?? .null),
    ]
    if finish != nil { members.append(("stop_reason", stop.map(JSON.string) ?? .null)) }
    if request.tellsIDs { members.append(("token_ids", ids(tokens))) }
    return object(members)
  }

  /// What the assistant says: text, calls of tools, or both. Answer.md 6, Serving.md 3.7.
  private func message(_ answer: Answer) throws -> (
    content: JSON, calls: [[(String, JSON)]], finish: String
  ) {
    let calls = request.readsCalls ? try tokenizer.calls(in: answer.tokens.map(\.id)) : nil
    guard let calls, !calls.calls.isEmpty else {
      return (.string(answer.text), [], answer.finish.rawValue)
    }
    return (
      calls.content.isEmpty ? .null : .string(calls.content),
      calls.calls.enumerated().map { described($1, id: id(of: $1, $0, of: answer)) },
      answer.finish == .stop ? "tool_calls" : answer.finish.rawValue
    )
  }

  private func described(_ call: AnsweredCalls.Call, id: String) -> [(String, JSON)] {
    [
      ("id", .string(id)), ("type", "function"),
      ("function", ["name": .string(call.name), "arguments": .string(call.arguments)]),
    ]
  }

  /// The model's own id if it is one that mistral-common takes back in the next turn; else one made of the
  /// answer.
  private func id(of call: AnsweredCalls.Call, _ n: Int, of answer: Answer) -> String {
    let isOne = call.id.utf8.count == 9 && call.id.utf8.allSatisfy { isLetterOrDigit($0) }
    if isOne { return call.id }
    let hash = SHA256()
    hash.update(Array("\(answer.tokens.map(\.id)) \(n)".utf8))
    return String(hash.hexDigest().prefix(9))
  }

  private func isLetterOrDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
      UInt8(ascii: "A")...UInt8(ascii: "Z"):
      true
    default: false
    }
  }

  private func usage(_ answer: Answer) -> JSON {
    let (prompt, count) = (answer.promptTokens, answer.tokens.count)
    return [
      "prompt_tokens": .integer(prompt), "completion_tokens": .integer(count),
      "total_tokens": .integer(prompt + count),
    ]
  }

  private func ids(_ tokens: [Answer.Token]) -> JSON { .array(tokens.map { .integer($0.id) }) }

  private func logprobs(_ tokens: [Answer.Token]) -> JSON {
    let content = tokens.map { token in
      object(
        spelled(token.id, token.logProbability) + [
          ("top_logprobs", .array(token.best.map { object(spelled($0.id, $0.logProbability)) }))
        ])
    }
    return ["content": .array(content)]
  }

  private func spelled(_ id: Int, _ logProbability: Double) -> [(String, JSON)] {
    let spelling = tokenizer.spelling(of: id)
    return [
      ("token", .string(spelling.text)), ("logprob", .number(logProbability)),
      ("bytes", spelling.bytes.map { .array($0.map { .integer(Int($0)) }) } ?? .null),
    ]
  }

  /// A token of the prompt and the most likely ones in its place, by their ids, as vLLM tells it.
  private func ranked(_ token: Answer.Token) -> JSON {
    func entry(_ id: Int, _ logProbability: Double, _ rank: Int) -> (String, JSON) {
      (
        "\(id)",
        [
          "logprob": .number(logProbability), "rank": .integer(rank),
          "decoded_token": .string(tokenizer.spelling(of: id).text),
        ]
      )
    }
    let best = token.best.enumerated().map { entry($1.id, $1.logProbability, $0 + 1) }
    return object(
      [entry(token.id, token.logProbability, token.rank)] + best.filter { $0.0 != "\(token.id)" })
  }
}
