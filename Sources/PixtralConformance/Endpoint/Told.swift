import PixtralStorage

/// What a server tells of a prompt, and of what comes behind it.
struct Told {
  /// A token as a server spells it, with its log-probability.
  struct Likely {
    let spelling: String
    /// The tokens that may be meant.
    let candidates: [Int]
    let logprob: Double

    func isSame(as other: Likely) -> Bool { spelling == other.spelling && logprob == other.logprob }
  }

  /// A place of an answer.
  struct Position {
    let chosen: Likely
    /// The likeliest tokens there, as many as the server tells.
    let best: [Likely]

    /// What every token is less likely than that is not listed. A token that was drawn may stand in the list though
    /// it is no likely one.
    var floor: Double? {
      let sorted = best.sorted { $0.logprob < $1.logprob }
      guard let least = sorted.first else { return nil }
      return least.isSame(as: chosen) && sorted.count > 1 ? sorted[1].logprob : least.logprob
    }
  }

  /// What a completion must have, because it was asked and the server has told it before.
  struct Demand {
    var counts = false
    var tokens = false
    var promptLogprobs = false
    /// Tokens of the answer with log-probabilities, and the likeliest tokens at each.
    var positions = 0
    var best = 0
  }

  /// Why a reply tells nothing.
  struct Lacking: Error {
    let what: String

    init(_ what: String) { self.what = what }
  }

  /// Tokens of the prompt.
  let count: Int?
  let tokens: [Int]?
  /// Behind the prompt, and behind each token of the answer but the last.
  let positions: [Position]
  /// The log-probability of each token of the prompt but the first.
  let prompt: [Double]?

  /// Reads a chat completion.
  init(completion json: JSON, _ spellings: Spellings, _ demand: Demand = Demand()) throws(Lacking) {
    guard case .array(let choices)? = json["choices"], let choice = choices.first, case .object = choice
    else {
      throw Lacking("no choices: \(shortened(json.text(), to: 100))")
    }
    count = json["usage"]?["prompt_tokens"]?.wholeNumber
    tokens = json["prompt_token_ids"]?.integers
    if let tokens, case .array(let list)? = json["prompt_logprobs"], list.count == tokens.count {
      let own = zip(tokens, list).dropFirst().compactMap { $1["\($0)"]?["logprob"]?.decimal }
      prompt = own.count == tokens.count - 1 ? own : nil
    } else {
      prompt = nil
    }
    var positions: [Position] = []
    if case .array(let content)? = choice["logprobs"]?["content"] {
      for (n, one) in content.enumerated() {
        let chosen = try Self.likely(one, n, spellings)
        var best: [Likely] = []
        if case .array(let list)? = one["top_logprobs"] {
          // One more than asked, if the chosen token is added to them.
          for entry in list.prefix(Server.mostLikely + 1) {
            best.append(try Self.likely(entry, n, spellings))
          }
        }
        // Some list it beside the likeliest, and so twice.
        let places = best.indices.filter { best[$0].isSame(as: chosen) }
        if chosen.candidates.count == 1, places.count > 1 { best.remove(at: places[0]) }
        positions.append(Position(chosen: chosen, best: best))
      }
    }
    self.positions = positions
    try check(demand, hasEnded: choice["finish_reason"] != .string("length"))
  }

  private static func likely(_ json: JSON, _ place: Int, _ spellings: Spellings) throws(Lacking) -> Likely {
    guard let logprob = json["logprob"]?.decimal, case .string(let text)? = json["token"] else {
      throw Lacking(
        "place \(place) has a token without a log-probability: \(shortened(json.text(), to: 100))")
    }
    return Likely(
      spelling: text,
      candidates: spellings.candidates(text, bytes: json["bytes"]?.integers, id: json["id"]?.wholeNumber),
      logprob: logprob)
  }

  /// - hasEnded: whether the answer says that it ended by itself, so that it may be shorter than asked.
  private func check(_ demand: Demand, hasEnded: Bool) throws(Lacking) {
    let told = "which it has told before"
    if demand.counts, count == nil { throw Lacking("no number under usage.prompt_tokens, \(told)") }
    if demand.tokens, tokens == nil { throw Lacking("no prompt_token_ids, \(told)") }
    if demand.promptLogprobs, prompt == nil {
      throw Lacking("no prompt_logprobs of each token of the prompt, \(told)")
    }
    guard demand.best > 0 else { return }
    guard !positions.isEmpty else { throw Lacking("no log-probabilities, \(told)") }
    guard positions.count >= demand.positions || hasEnded else {
      throw Lacking("log-probabilities of \(positions.count) places, and not of \(demand.positions)")
    }
    for (n, position) in positions.enumerated() where position.best.count < demand.best {
      throw Lacking("the \(position.best.count) likeliest tokens of place \(n), and not \(demand.best)")
    }
  }
}

extension JSON {
  /// A number without a fraction, in either form; nil for anything else.
  var wholeNumber: Int? {
    if case .integer(let value) = self { value } else { double.flatMap(Int.init(exactly:)) }
  }
}
