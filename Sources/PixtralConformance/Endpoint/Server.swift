import PixtralReference
import PixtralStorage
import PixtralText

/// A server with OpenAI's routes. What it can tell is found out by asking, not by its name.
final class Server {
  /// What a server can tell.
  struct Capabilities {
    /// How it tells the tokens of a request; nil if it does not.
    var tokens: Way?
    /// Whether `usage` has the number of a prompt's tokens.
    var counts = false
    /// Of each position of an answer the likeliest tokens: how many; 0 if it tells none.
    var best = 0
    /// Whether the log-probabilities are those of the distribution that it draws from, so that they go with the
    /// temperature, and not the model's own; nil where they are none.
    var scaled: Bool?
    /// Whether a completion tells the tokens of its prompt, spells tokens as their ids, and tells the
    /// log-probabilities of its prompt's tokens.
    var returnsTokens = false
    var spellsIds = false
    var prompt = false
    /// Whether it continues an assistant's message that has no end.
    var continues = false
  }

  /// How a server tells the tokens of a request.
  enum Way: String {
    case tokenize
    /// `prompt_token_ids` of a chat completion, where `return_token_ids` asks for them.
    case completion
  }

  /// What became of a request.
  enum Outcome {
    case told(Told)
    /// The status, and the message.
    case refused(Int, String)
    case crashed(String)
    case timedOut
    case malformed(String)
  }

  let model: String
  private(set) var capabilities = Capabilities()
  /// What came of the first completion, in words.
  private(set) var firstAnswer = ""
  /// How many tokens it counts in the first prompt.
  private var helloCount: Int?
  private let transport: any Transport
  private let spellings: Spellings
  private var outcomes: [String: Outcome] = [:]

  typealias Members = [(String, PythonValue)]

  /// - Throws: `NoReply` from a server that does not answer.
  init(_ transport: any Transport, model: String, tokenizer: Tokenizer) throws(NoReply) {
    (self.transport, self.model) = (transport, model)
    spellings = Spellings(tokenizer)
    try findOut()
  }

  // MARK: - Requests

  /// Sends an object, the model's name in front; gives the status and what came, and nil for what is no JSON.
  func send(_ path: String, _ members: Members) throws(NoReply) -> (status: Int, json: JSON?, text: String) {
    var body: [UInt8] = []
    let named = [("model", PythonValue.string(PythonString(model)))] + members
    PythonValue.dictionary(named.map { .init(key: PythonString($0.0), value: $0.1) })
      .write(to: &body, compact: true)
    let reply = try transport.post(path, body)
    let text = String(decoding: reply.body, as: UTF8.self)
    return (reply.status, try? JSON(parsing: text, place: path), text)
  }

  /// A chat completion at temperature 0, with all that this server tells.
  ///
  /// - positions: tokens of the answer; of one the log-probabilities are not asked, unless `likely`.
  func complete(_ request: PythonValue, positions: Int, likely: Bool) -> Outcome {
    guard case .dictionary(let members) = request else { return .malformed("a request is an object") }
    var asked = members.map { ($0.key.text, $0.value) }
    func put(_ key: String, _ value: PythonValue) { asked = asked.filter { $0.0 != key } + [(key, value)] }
    // A server that scales says at 1 what the model says.
    let scales = likely && capabilities.scaled == true
    if request["temperature"] == nil { put("temperature", .integer(scales ? "1" : "0")) }
    put("max_tokens", .integer("\(scales ? 1 : positions)"))
    if likely, capabilities.best > 0 {
      put("logprobs", .boolean(true))
      put("top_logprobs", .integer("\(capabilities.best)"))
      if capabilities.prompt { put("prompt_logprobs", .integer("0")) }
      if capabilities.spellsIds { put("return_tokens_as_token_ids", .boolean(true)) }
    }
    if capabilities.returnsTokens { put("return_token_ids", .boolean(true)) }
    do throws(NoReply) {
      let (status, json, text) = try send("/v1/chat/completions", asked)
      switch status {
      case 200:
        guard let json, case .object = json else {
          return .malformed("no object of JSON: \(shortened(text, to: 100))")
        }
        return .told(Told(completion: json, spellings))
      case 400..<500: return .refused(status, Self.message(json, text))
      default: return .crashed("status \(status): \(shortened(text, to: 200))")
      }
    } catch {
      switch error {
      case .timedOut: return .timedOut
      case .broken(let how): return .crashed(how)
      }
    }
  }

  /// What became of a prompt, which is asked once.
  ///
  /// - again: 0, or how often it was asked before, to ask it anew.
  func told(
    of prompt: String, _ request: PythonValue, positions: Int, likely: Bool, again: Int = 0
  ) -> Outcome {
    let key = "\(prompt) \(likely) \(again)"
    if let outcome = outcomes[key] { return outcome }
    let outcome = complete(request, positions: positions, likely: likely)
    outcomes[key] = outcome
    return outcome
  }

  /// OpenAI's form, or FastAPI's.
  static func message(_ json: JSON?, _ text: String) -> String {
    let message = json?["error"]?["message"] ?? json?["message"] ?? json?["detail"]
    return message?.plainText ?? shortened(text, to: 100)
  }

  /// What a server tells of the tokens of a request: `tokens`, or their number as `count`; without a completion
  /// where it can.
  func tokens(_ members: Members) throws(NoReply) -> (status: Int, told: JSON, json: JSON?, text: String) {
    if capabilities.tokens == .tokenize {
      let (status, json, text) = try send("/tokenize", members)
      return (status, ["tokens": json?["tokens"] ?? .null], json, text)
    }
    let isAsked: Members = capabilities.tokens == nil ? [] : [("return_token_ids", .boolean(true))]
    let (status, json, text) = try send(
      "/v1/chat/completions", members + [("max_tokens", .integer("1"))] + isAsked)
    let told: JSON =
      capabilities.tokens == nil
      ? ["count": json?["usage"]?["prompt_tokens"] ?? .null]
      : ["tokens": json?["prompt_token_ids"] ?? .null]
    return (status, told, json, text)
  }

  // MARK: - What it can tell

  private static let hello: Members = [
    (
      "messages",
      .list([["role": .string(PythonString("user")), "content": .string(PythonString("Hi"))]])
    )
  ]

  private func findOut() throws(NoReply) {
    let short = Self.hello + [("max_tokens", .integer("2")), ("temperature", .integer("0"))]
    func completion(_ more: Members, temperature: Double? = nil) throws(NoReply) -> JSON? {
      let kept = short.filter { temperature == nil || $0.0 != "temperature" }
      let heat = temperature.map { [("temperature", PythonValue.float($0))] } ?? []
      let (status, json, _) = try send("/v1/chat/completions", kept + heat + more)
      return status == 200 ? json : nil
    }
    let plain = try send("/v1/chat/completions", short)
    firstAnswer =
      plain.status == 200
      ? "an answer that tells nothing" : "status \(plain.status): \(Self.message(plain.json, plain.text))"
    if plain.status == 200, let json = plain.json {
      helloCount = Told(completion: json, spellings).count
      capabilities.counts = helloCount != nil
    }
    let tokenized = try send("/tokenize", Self.hello)
    if tokenized.status == 200, tokenized.json?["tokens"]?.integers?.isEmpty == false {
      capabilities.tokens = .tokenize
    }
    if let json = try completion([("return_token_ids", .boolean(true))]),
      json["prompt_token_ids"]?.integers != nil
    {
      capabilities.returnsTokens = true
      if capabilities.tokens == nil { capabilities.tokens = .completion }
    }
    var asked: Members = []
    for count in [20, 10, 5, 1] {
      asked = [("logprobs", .boolean(true)), ("top_logprobs", .integer("\(count)"))]
      guard let json = try completion(asked) else { continue }
      capabilities.best = Told(completion: json, spellings).positions.first?.best.count ?? 0
      if capabilities.best > 0 { break }
    }
    if capabilities.best > 0 {
      let asIds = asked + [("return_tokens_as_token_ids", .boolean(true))]
      if let json = try completion(asIds) {
        let spelling = Told(completion: json, spellings).positions.first?.chosen.spelling ?? ""
        capabilities.spellsIds = spelling.hasPrefix("token_id:")
      }
      capabilities.scaled = try scales(asked, completion)
      if capabilities.returnsTokens {
        let more = asked + [("return_token_ids", .boolean(true)), ("prompt_logprobs", .integer("0"))]
        if let json = try completion(more) {
          capabilities.prompt = Told(completion: json, spellings).prompt != nil
        }
      }
    }
    capabilities.continues = try continues()
  }

  /// Whether log-probabilities are nearer at temperature 2 to half of what they are at 1 than to the same.
  private func scales(
    _ asked: Members, _ completion: (Members, Double?) throws(NoReply) -> JSON?
  ) throws(NoReply) -> Bool? {
    guard let one = try completion(asked, 1), let two = try completion(asked, 2) else { return nil }
    let lists = [one, two].map { Told(completion: $0, spellings).positions.first?.best ?? [] }
    let pairs = lists[0].compactMap { a in
      lists[1].first { $0.spelling == a.spelling }.map { (a.logprob, $0.logprob) }
    }
    guard pairs.count > 1, let (a, b) = pairs.first else { return lists[1].isEmpty ? nil : true }
    // Differences of log-probabilities are halved, whatever is subtracted from all.
    let same = pairs.reduce(0) { $0 + abs(($1.0 - a) - ($1.1 - b)) }
    let half = pairs.reduce(0) { $0 + abs(($1.0 - a) / 2 - ($1.1 - b)) }
    return half < same
  }

  /// Whether a message of an assistant that is to be continued makes another prompt than one that has an end.
  private func continues() throws(NoReply) -> Bool {
    let messages = PythonValue.list([
      ["role": .string(PythonString("user")), "content": .string(PythonString("Hi"))],
      ["role": .string(PythonString("assistant")), "content": .string(PythonString("Good"))],
    ])
    let goingOn: Members = [
      ("messages", messages), ("continue_final_message", .boolean(true)),
      ("add_generation_prompt", .boolean(false)), ("max_tokens", .integer("1")),
      ("temperature", .integer("0")),
    ]
    let (status, json, _) = try send("/v1/chat/completions", goingOn)
    guard status == 200, let json, let count = Told(completion: json, spellings).count else { return false }
    // One token more than without that message: an end, or a new turn, is another.
    return helloCount.map { count == $0 + 1 } ?? false
  }
}
