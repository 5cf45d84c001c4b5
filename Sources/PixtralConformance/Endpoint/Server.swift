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
    /// Why it tells none, where that is no refusal but an error of its own.
    var trouble: String?
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
    /// What it calls the most tokens of an answer, and the least temperature that it takes.
    var limit = "max_tokens"
    var coldest = 0.0
  }

  /// The most tokens of a place that a server is asked for.
  static let mostLikely = 20

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
  /// Whether it refused the first completion for want of a key.
  private(set) var isRefusingKeys = false
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

  /// Sends an object, the model's name in front; gives the status and what came, and for what is no JSON nil and why.
  func send(_ path: String, _ members: Members) throws(NoReply) -> (status: Int, json: JSON?, text: String) {
    var body: [UInt8] = []
    let named = [("model", PythonValue.string(PythonString(model)))] + members
    PythonValue.dictionary(named.map { .init(key: PythonString($0.0), value: $0.1) })
      .write(to: &body, compact: true)
    let reply = try transport.post(path, body)
    let text = String(decoding: reply.body, as: UTF8.self)
    do {
      return (reply.status, try reply.json(path), text)
    } catch {
      // Of an error the text is what was meant to be said.
      let why = (error as? InputError)?.found ?? "\(error)"
      return (reply.status, nil, reply.status == 200 ? "\(why), in \(shortened(text, to: 100))" : text)
    }
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
    if request["temperature"] == nil {
      put("temperature", Self.temperature(scales ? 1 : capabilities.coldest))
    }
    let places = scales ? 1 : positions
    put(capabilities.limit, .integer("\(places)"))
    var demand = Told.Demand(counts: capabilities.counts, tokens: capabilities.returnsTokens)
    if likely, capabilities.best > 0 {
      (demand.positions, demand.best) = (places, capabilities.best)
      demand.promptLogprobs = capabilities.prompt
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
          return .malformed("no object of JSON: \(shortened(text, to: 200))")
        }
        guard let told = Told(completion: json, spellings, demand) else {
          return .malformed("no choices: \(shortened(text, to: 200))")
        }
        return .told(told)
      case 400..<500 where status != 429: return .refused(status, Self.message(json, text))
      default: return .crashed("status \(status): \(shortened(text, to: 200))")
      }
    } catch { return error.outcome }
  }

  private static func temperature(_ value: Double) -> PythonValue {
    value == value.rounded() ? .integer("\(Int(value))") : .float(value)
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
      "/v1/chat/completions", members + [(capabilities.limit, .integer("1"))] + isAsked)
    let count = json?["usage"]?["prompt_tokens"]?.wholeNumber
    let told: JSON =
      capabilities.tokens == nil
      ? ["count": count.map(JSON.integer) ?? .null] : ["tokens": json?["prompt_token_ids"] ?? .null]
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
    try findWords()
    // An unknown route may not be answered at all.
    if let tokenized = try? send("/tokenize", Self.hello), tokenized.status == 200,
      tokenized.json?["tokens"]?.integers?.isEmpty == false
    {
      capabilities.tokens = .tokenize
    }
    if probe([("return_token_ids", .boolean(true))]).told?.tokens != nil {
      capabilities.returnsTokens = true
      if capabilities.tokens == nil { capabilities.tokens = .completion }
    }
    capabilities.continues = continues()
    guard let asked = findLikely() else { return }
    let spelling = probe(asked + [("return_tokens_as_token_ids", .boolean(true))]).told?
      .positions.first?.chosen.spelling
    capabilities.spellsIds = spelling?.hasPrefix("token_id:") == true
    capabilities.scaled = scales(asked)
    if capabilities.returnsTokens {
      let more: Members = [("return_token_ids", .boolean(true)), ("prompt_logprobs", .integer("0"))]
      capabilities.prompt = probe(asked + more).told?.prompt != nil
    }
  }

  /// What came of a short completion.
  private struct Probe {
    var told: Told?
    /// 0 where nothing came.
    var status = 0
    /// What was said instead.
    var what = ""
    var noReply: NoReply?
  }

  /// A short completion with more than what every server takes.
  private func probe(_ more: Members, temperature: Double? = nil) -> Probe {
    let short: Members = [
      (capabilities.limit, .integer("2")),
      ("temperature", Self.temperature(temperature ?? capabilities.coldest)),
    ]
    do throws(NoReply) {
      let (status, json, text) = try send("/v1/chat/completions", Self.hello + short + more)
      guard status == 200, let json else { return Probe(status: status, what: Self.message(json, text)) }
      guard let told = Told(completion: json, spellings) else {
        return Probe(status: status, what: "no choices: \(shortened(text, to: 100))")
      }
      return Probe(told: told, status: status, what: told.lacksLogprobs ?? "")
    } catch { return Probe(what: error.description, noReply: error) }
  }

  /// How a completion has to be asked for: some servers have another word for its length, or take no temperature of 0.
  private func findWords() throws(NoReply) {
    var first: Probe?
    search: for limit in ["max_tokens", "max_completion_tokens"] {
      for coldest in [0, 1e-4, 0.01] {
        (capabilities.limit, capabilities.coldest) = (limit, coldest)
        let found = probe([])
        if let noReply = found.noReply { throw noReply }
        first = first ?? found
        if let told = found.told {
          (helloCount, capabilities.counts) = (told.count, told.count != nil)
          firstAnswer = "an answer that tells nothing"
          return
        }
        // Other words mend no other refusal.
        guard [400, 422].contains(found.status) else { break search }
      }
    }
    (capabilities.limit, capabilities.coldest) = ("max_tokens", 0)
    isRefusingKeys = first?.status == 401
    firstAnswer = first.map { "status \($0.status): \($0.what)" } ?? ""
  }

  /// Asks for the likeliest tokens, fewer if so many are refused; gives what has to be asked, nil if it tells none.
  private func findLikely() -> Members? {
    for count in [Self.mostLikely, 10, 5, 1] {
      let asked: Members = [("logprobs", .boolean(true)), ("top_logprobs", .integer("\(count)"))]
      let found = probe(asked)
      capabilities.best = min(count, found.told?.positions.first?.best.count ?? 0)
      if capabilities.best > 0 {
        capabilities.trouble = nil
        return asked
      }
      // What is no refusal is no answer to whether it tells them.
      if !found.what.isEmpty, !(400..<500).contains(found.status) || found.status == 429 {
        let status = found.status > 0 ? "status \(found.status): " : ""
        capabilities.trouble = status + shortened(found.what, to: 200)
      }
      if case .timedOut? = found.noReply { break }
    }
    return nil
  }

  /// Whether log-probabilities are nearer at half of a temperature to twice of what they are at all of it than to the
  /// same; nil where that cannot be told.
  private func scales(_ asked: Members) -> Bool? {
    guard let one = probe(asked, temperature: 1).told, let cold = probe(asked, temperature: 0.5).told else {
      return nil
    }
    let lists = [one, cold].map { $0.positions.first?.best ?? [] }
    let pairs = lists[0].compactMap { a in
      lists[1].first { $0.spelling == a.spelling }.map { (a.logprob, $0.logprob) }
    }
    guard let (a, b) = pairs.first else { return nil }
    // Of one token it is known only whether it stays what it is.
    guard pairs.count > 1 else { return abs(a - b) > 0.01 * abs(a) }
    // Differences of log-probabilities are doubled, whatever is subtracted from all.
    let same = pairs.reduce(0) { $0 + abs(($1.0 - a) - ($1.1 - b)) }
    let twice = pairs.reduce(0) { $0 + abs(2 * ($1.0 - a) - ($1.1 - b)) }
    return twice < same
  }

  /// Whether a message of an assistant that is to be continued makes another prompt than one that has an end.
  private func continues() -> Bool {
    let messages = PythonValue.list([
      ["role": .string(PythonString("user")), "content": .string(PythonString("Hi"))],
      ["role": .string(PythonString("assistant")), "content": .string(PythonString("Good"))],
    ])
    let goingOn: Members = [
      ("messages", messages), ("continue_final_message", .boolean(true)),
      ("add_generation_prompt", .boolean(false)), (capabilities.limit, .integer("1")),
      ("temperature", Self.temperature(capabilities.coldest)),
    ]
    guard let (status, json, _) = try? send("/v1/chat/completions", goingOn), status == 200, let json,
      let count = Told(completion: json, spellings)?.count
    else { return false }
    // One token more than without that message: an end, or a new turn, is another.
    return helloCount.map { count == $0 &+ 1 } ?? false
  }
}

extension NoReply {
  /// What became of a request to which nothing came.
  var outcome: Server.Outcome {
    switch self {
    case .timedOut: .timedOut
    case .broken(let how): .crashed(how)
    }
  }
}
