import PixtralStorage
import PixtralText

/// What a server tells of a prompt, and of what comes behind it.
struct Told {
  /// A token as a server spells it, with its log-probability.
  struct Likely {
    let spelling: String
    /// The tokens that are spelled so.
    let candidates: [Int]
    let logprob: Double
  }

  /// A place of an answer.
  struct Position {
    let chosen: Likely
    /// The likeliest tokens there, as many as the server tells.
    let best: [Likely]
  }

  /// Tokens of the prompt.
  let count: Int?
  let tokens: [Int]?
  /// Behind the prompt, and behind each token of the answer but the last.
  let positions: [Position]
  /// The log-probability of each token of the prompt but the first.
  let prompt: [Double]?

  /// Reads a chat completion.
  init(completion json: JSON, _ spellings: Spellings) {
    if case .integer(let count)? = json["usage"]?["prompt_tokens"] { self.count = count } else { count = nil }
    let tokens = json["prompt_token_ids"]?.integers
    self.tokens = tokens
    if let tokens, case .array(let list)? = json["prompt_logprobs"], list.count == tokens.count {
      let own = zip(tokens, list).dropFirst().compactMap { $1["\($0)"]?["logprob"]?.decimal }
      prompt = own.count == tokens.count - 1 ? own : nil
    } else {
      prompt = nil
    }
    func likely(_ json: JSON) -> Likely? {
      guard let logprob = json["logprob"]?.decimal, case .string(let text)? = json["token"] else {
        return nil
      }
      return Likely(
        spelling: text, candidates: spellings.candidates(text, bytes: json["bytes"]?.integers),
        logprob: logprob)
    }
    var positions: [Position] = []
    if case .array(let choices)? = json["choices"],
      case .array(let content)? = choices.first?["logprobs"]?["content"]
    {
      for one in content {
        guard let chosen = likely(one) else { break }
        var best: [Likely] = []
        if case .array(let list)? = one["top_logprobs"] { best = list.compactMap(likely) }
        positions.append(Position(chosen: chosen, best: best))
      }
    }
    self.positions = positions
  }
}

/// Which tokens a spelling may be: servers write `▁the`, ` the` or `the` for one token, or `token_id:1040`.
struct Spellings {
  private var ids: [String: [Int]] = [:]

  init(_ tokenizer: Tokenizer) {
    for (id, piece) in tokenizer.vocabulary.pieces.enumerated() {
      var spellings: Set = [piece.text, tokenizer.spelling(of: id).text]
      if piece.text.hasPrefix("▁") { spellings.insert(String(piece.text.dropFirst())) }
      for spelling in spellings { ids[spelling, default: []].append(id) }
    }
  }

  /// - bytes: of the token, where a server tells them: half a character is spelled U+FFFD, whichever it is.
  func candidates(_ spelling: String, bytes: [Int]?) -> [Int] {
    if spelling.hasPrefix("token_id:") {
      return Int(spelling.dropFirst("token_id:".utf8.count)).map { [$0] } ?? []
    }
    if spelling == "\u{FFFD}", let bytes, bytes.count == 1 {
      return ids["<0x\(hexadecimal(bytes[0]))>"] ?? []
    }
    return ids[spelling] ?? []
  }

  private func hexadecimal(_ byte: Int) -> String {
    let digits = String(byte, radix: 16, uppercase: true)
    return digits.count == 1 ? "0\(digits)" : digits
  }
}
