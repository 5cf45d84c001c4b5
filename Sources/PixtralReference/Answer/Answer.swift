import PixtralStorage
import PixtralText

/// What the assistant says, token by token.
public struct Answer: Sendable {
  /// A token of an answer, and what the model said of it.
  public struct Token: Sendable, Equatable {
    /// Its id.
    public let id: Int
    /// The natural logarithm of its probability, before any temperature.
    public let logProbability: Double
    /// Its place among all, from 1 for the most likely; of equal ones the lowest id comes first.
    public let rank: Int
    /// As many of the most likely tokens as were asked for, the most likely first.
    public let best: [Likely]
  }

  /// A token that might have come.
  public struct Likely: Sendable, Equatable {
    /// Its id.
    public let id: Int
    /// The natural logarithm of its probability.
    public let logProbability: Double
  }

  /// Why there are no more tokens.
  public enum Finish: String, Sendable {
    /// `</s>` came, or a text at which to stop.
    case stop
    /// As many tokens as were wanted are there.
    case length
    /// Every token was given.
    case forced
  }

  /// Tokens of the prompt.
  public let promptTokens: Int
  /// What the model says of them but the first, where that was asked for.
  public var prompt: [Token] = []
  /// Its tokens, `</s>` too if it came.
  public let tokens: [Token]
  /// What they come to, without control tokens, up to the first stop.
  public let text: String
  /// Why it ended.
  public let finish: Finish
  /// The text at which it stopped.
  public var stop: String?
}

/// What an answer is to be.
public struct AnswerOptions: Sendable {
  /// How the next token is chosen.
  public var sampling = Sampling()
  /// The most tokens.
  public var maxTokens = 256
  /// Texts that end the answer, none of them empty. They are no part of its text.
  public var stops: [String] = []
  /// How many of the most likely tokens are kept of each position.
  public var best = 0
  /// How many are kept of each position of the prompt; nil to compute no logits for it.
  public var promptBest: Int?

  /// Greedy, 256 tokens at most.
  public init() {}
}

extension Pixtral {
  /// A prompt to its answer: the prompt in one go, its images encoded once, then a token at a time
  /// through the key-value cache. Answer.md 1.
  ///
  /// - Parameters:
  ///   - prompt: tokens and images.
  ///   - tokenizer: turns tokens into text.
  ///   - options: what the answer is to be.
  ///   - trace: sees every activation of the prompt and of each position; what its recorder throws
  ///     ends the answer.
  ///   - each: told of each token, with the text that is certain by then and was not before; and of no
  ///     token where the end makes more text certain.
  /// - Throws: `InputError` if tokens and images do not fit one another or the model, or the model
  ///   not the tokenizer; of kind `wrongTensors` for logits that are not finite; what the recorder or
  ///   `each` throws.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func answer(
    _ prompt: Prompt, tokenizer: Tokenizer, options: AnswerOptions = AnswerOptions(), trace: Trace = Trace(),
    each: (Answer.Token?, String) throws -> Void = { _, _ in }
  ) throws -> Answer {
    try check(tokenizer)
    let cache = KeyValueCache<Scalar>(for: checkpoint.parameters)
    var sampler = Sampler(options.sampling)
    var text = AnswerText(tokenizer, stops: options.stops)
    var tokens: [Answer.Token] = []
    var finish = Answer.Finish.length

    var said: [Answer.Token] = []
    var logits: Matrix<Scalar>  // (1, V)
    if let best = options.promptBest {
      let rows = try embeddings(of: prompt, logitRows: min(prompt.tokens.count, Self.part), trace: trace)
      said = try self.said(of: prompt.tokens, rows, best: best, trace: trace)
      logits = try self.logits(rows, cache: cache, logitRows: 1, trace: trace)
    } else {
      logits = try prefill(prompt, cache: cache, trace: trace)
    }
    while tokens.count < options.maxTokens {
      let prediction = try Prediction(logits.row(0), position: cache.count)
      let token = Answer.Token(sampler.choose(prediction), prediction, best: options.best)
      tokens.append(token)
      let isEnd = token.id == V7Token.endOfSequence.rawValue
      try each(token, text.append(token.id))
      if isEnd || text.hasStopped {
        finish = .stop
        break
      }
      if tokens.count < options.maxTokens {
        logits = try self.logits(of: [token.id], cache: cache, trace: trace)  // (1, V)
      }
    }
    let rest = text.finish()
    // Half a character at the end is U+FFFD only now, at which the answer may be meant to stop.
    if text.hasStopped { finish = .stop }
    if !rest.isEmpty { try each(nil, rest) }
    return Answer(
      promptTokens: prompt.tokens.count, prompt: said, tokens: tokens, text: text.whole, finish: finish,
      stop: text.stop)
  }

  /// What the model says of a prompt's tokens but the first, in parts: a row of logits is 128 KiB and more. In a
  /// cache of its own: the answer is the same, to the last digit, whether this is asked or not.
  ///
  /// - rows: the tokens' embeddings, (T, dim).
  private func said(
    of tokens: [Int], _ rows: Matrix<Scalar>, best: Int, trace: Trace
  ) throws -> [Answer.Token] {
    let cache = KeyValueCache<Scalar>(for: checkpoint.parameters)
    var said: [Answer.Token] = []
    for start in stride(from: 0, to: tokens.count - 1, by: Self.part) {
      let part = start..<min(start + Self.part, tokens.count - 1)
      let logits = try logits(rows.rows(part), cache: cache, trace: trace)  // (part, V)
      for n in part {
        let prediction = try Prediction(logits.row(n - start), position: n + 1)
        said.append(Answer.Token(tokens[n + 1], prediction, best: best))
      }
    }
    return said
  }

  /// Positions whose logits are computed in one go, where those of many are wanted.
  private static var part: Int { 1024 }

  /// What the model says of an answer that is given: its tokens are fed, whatever would have been
  /// chosen, many in one go. Answer.md 5.
  ///
  /// - Parameters:
  ///   - prompt: tokens and images.
  ///   - tokens: the answer, ids of the vocabulary; an `[IMG]` among them is no image.
  ///   - tokenizer: turns tokens into text.
  ///   - best: how many of the most likely tokens are kept of each position.
  ///   - trace: sees every activation of the prompt, and then of each 1024 tokens of the answer.
  /// - Throws: as `answer`; of kind `wrongTokens` for a token that is none.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func answer(
    _ prompt: Prompt, forced tokens: [Int], tokenizer: Tokenizer, best: Int = 0, trace: Trace = Trace()
  ) throws -> Answer {
    try check(tokenizer)
    if let at = tokens.firstIndex(where: { !(0..<checkpoint.parameters.vocabularySize).contains($0) }) {
      throw InputError(
        .wrongTokens, "token \(at) of the answer",
        expected: "an id from 0 to \(checkpoint.parameters.vocabularySize - 1)", found: "\(tokens[at])")
    }
    let cache = KeyValueCache<Scalar>(for: checkpoint.parameters)
    var answered: [Answer.Token] = []
    var logits = try prefill(prompt, cache: cache, trace: trace)  // (1, V)
    while answered.count < tokens.count {
      for n in 0..<logits.rows {
        let prediction = try Prediction(logits.row(n), position: prompt.tokens.count + answered.count)
        answered.append(Answer.Token(tokens[answered.count], prediction, best: best))
      }
      // Each token is fed once it is said to be likely or not, but the last, behind which nothing is asked.
      // In parts, for a row of logits is 128 KiB and more.
      let part = tokens[answered.count - 1..<min(answered.count + Self.part - 1, tokens.count - 1)]
      if !part.isEmpty { logits = try self.logits(of: Array(part), cache: cache, trace: trace) }  // (part, V)
    }
    return Answer(
      promptTokens: prompt.tokens.count, tokens: answered, text: try tokenizer.decode(tokens),
      finish: .forced)
  }

  /// Makes sure that every token which the model may choose has a piece.
  private func check(_ tokenizer: Tokenizer) throws {
    let (size, pieces) = (checkpoint.parameters.vocabularySize, tokenizer.vocabulary.pieces.count)
    guard size <= pieces else {
      throw InputError(
        .wrongParameters, "vocab_size of \(checkpoint.name)",
        expected: "at most \(pieces), the pieces of the tokenizer", found: "\(size)",
        advice: "pixtral-ref trace needs no pieces")
    }
  }
}

extension Answer.Token {
  init(_ id: Int, _ prediction: Prediction, best: Int) {
    let likely = best == 0 ? [] : prediction.best(best)
    self.init(
      id: id, logProbability: prediction.logProbability(of: id), rank: prediction.rank(of: id),
      best: likely.map { Answer.Likely(id: $0, logProbability: prediction.logProbability(of: $0)) })
  }
}
