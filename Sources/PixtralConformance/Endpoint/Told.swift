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
    /// The likeliest tokens there, as many as the server tells, the likeliest first.
    let best: [Likely]

    /// What every token is less likely than that is not listed. A token that was drawn may stand in the list though
    /// it is no likely one.
    var floor: Double? {
      guard let least = best.last else { return nil }
      return least.isSame(as: chosen) && best.count > 1 ? best[best.count - 2].logprob : least.logprob
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

  /// Tokens of the prompt.
  let count: Int?
  let tokens: [Int]?
  /// Behind the prompt, and behind each token of the answer but the last.
  private(set) var positions: [Position] = []
  /// The log-probability of each token of the prompt but the first.
  let prompt: [Double]?
  /// What is demanded and not there, of the tokens of the prompt, and of log-probabilities; nil where all is.
  private(set) var lacksTokens: String?
  private(set) var lacksLogprobs: String?

  /// Reads a chat completion; nil for what has no choices.
  init?(completion json: JSON, _ spellings: Spellings, _ demand: Demand = Demand()) {
    guard case .array(let choices)? = json["choices"], let choice = choices.first, case .object = choice
    else {
      return nil
    }
    count = json["usage"]?["prompt_tokens"]?.wholeNumber
    tokens = json["prompt_token_ids"]?.integers
    if let tokens, case .array(let list)? = json["prompt_logprobs"], list.count == tokens.count {
      let own = zip(tokens, list).dropFirst().compactMap { $1["\($0)"]?["logprob"]?.decimal }
      prompt = own.count == tokens.count - 1 ? own : nil
    } else {
      prompt = nil
    }
    if case .array(let content)? = choice["logprobs"]?["content"] {
      for (n, one) in content.enumerated() {
        guard let position = Position(one, spellings) else {
          let shown = shortened(one.text(), to: 100)
          (positions, lacksLogprobs) = ([], "place \(n) has a token without a log-probability: \(shown)")
          break
        }
        positions.append(position)
      }
    }
    let told = "which it has told before"
    if demand.counts, count == nil { lacksTokens = "no number under usage.prompt_tokens, \(told)" }
    if demand.tokens, tokens == nil { lacksTokens = "no prompt_token_ids, \(told)" }
    if demand.promptLogprobs, prompt == nil {
      lacksLogprobs = lacksLogprobs ?? "no prompt_logprobs of each token of the prompt, \(told)"
    }
    guard demand.best > 0, lacksLogprobs == nil else { return }
    let hasEnded = choice["finish_reason"] == "stop"
    if positions.isEmpty {
      lacksLogprobs = "no log-probabilities, \(told)"
    } else if positions.count < demand.positions, !hasEnded {
      lacksLogprobs = "log-probabilities of \(positions.count) places, and not of \(demand.positions)"
    } else if let n = positions.firstIndex(where: { 2 * $0.best.count < demand.best }) {
      // Tokens that are spelled alike may be one in a list.
      lacksLogprobs = "the \(positions[n].best.count) likeliest tokens of place \(n), and not \(demand.best)"
    }
  }
}

extension Told.Position {
  /// Reads an entry of `content`; nil if one of its tokens has no log-probability.
  fileprivate init?(_ json: JSON, _ spellings: Spellings) {
    guard let chosen = Told.Likely(json, spellings) else { return nil }
    var best: [Told.Likely] = []
    if case .array(let list)? = json["top_logprobs"] {
      // One more than asked, if the chosen token is added to them.
      for entry in list.prefix(Server.mostLikely + 1) {
        guard let one = Told.Likely(entry, spellings) else { return nil }
        best.append(one)
      }
    }
    // Some list it beside the likeliest, and so twice.
    let places = best.indices.filter { best[$0].isSame(as: chosen) }
    if chosen.candidates.count == 1, places.count > 1 { best.remove(at: places[0]) }
    // In whichever order they are told.
    self.init(chosen: chosen, best: best.sorted { $0.logprob > $1.logprob })
  }
}

extension Told.Likely {
  fileprivate init?(_ json: JSON, _ spellings: Spellings) {
    guard let logprob = json["logprob"]?.decimal, case .string(let text)? = json["token"] else { return nil }
    self.init(
      spelling: text,
      candidates: spellings.candidates(text, bytes: json["bytes"]?.integers, id: json["id"]?.wholeNumber),
      logprob: logprob)
  }
}

extension JSON {
  /// A number without a fraction, in either form; nil for anything else.
  var wholeNumber: Int? {
    if case .integer(let value) = self { value } else { double.flatMap(Int.init(exactly:)) }
  }
}
