import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Answers")
struct AnswerTests {
  let tokenizer: Tokenizer
  let tiny: Checkpoint
  let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    tokenizer = try fixtureTokenizer()
    tiny = try Checkpoint("seeded:tiny")
  }

  private func options(_ edit: (inout AnswerOptions) -> Void) -> AnswerOptions {
    var options = AnswerOptions()
    edit(&options)
    return options
  }

  @Test(
    "Token by token the log-probabilities are those of the whole sequence", arguments: ["text", "two-images"])
  func sameAsWhole(name: String) throws {
    let prompt = try ModelCase(name).prompt
    let model = Pixtral<Double>(tiny)
    let answer = try model.answer(prompt, tokenizer: tokenizer, options: options { $0.maxTokens = 24 })
    let ids = answer.tokens.map(\.id)
    let whole = try model(
      Prompt(tokens: prompt.tokens + ids.dropLast(), pixels: try prompt.pixels), logitRows: 24)
    for (n, token) in answer.tokens.enumerated() {
      let prediction = try Prediction(whole.row(n), position: n)
      #expect(abs(prediction.logProbability(of: token.id) - token.logProbability) < 1e-11)
      #expect(prediction.best(1).first == token.id)
    }
  }

  @Test("In float32 they are within its noise of float64", arguments: ["text", "two-images"])
  func float32(name: String) throws {
    let prompt = try ModelCase(name).prompt
    let float = try Pixtral<Float>(tiny).answer(
      prompt, tokenizer: tokenizer, options: options { $0.maxTokens = 24 })
    let double = try Pixtral<Double>(tiny).answer(
      prompt, forced: float.tokens.map(\.id), tokenizer: tokenizer)
    try #require(float.tokens.count == 24 && double.tokens.count == 24)
    for (a, b) in zip(float.tokens, double.tokens) {
      #expect(abs(a.logProbability - b.logProbability) < 1e-4)
    }
  }

  @Test("Given in one go, an answer has the log-probabilities that it had token by token")
  func forced() throws {
    let prompt = try ModelCase("small-rgba").prompt
    let model = Pixtral<Double>(tiny)
    let answer = try model.answer(
      prompt, tokenizer: tokenizer,
      options: options {
        $0.maxTokens = 16
        $0.best = 3
      })
    let forced = try model.answer(prompt, forced: answer.tokens.map(\.id), tokenizer: tokenizer, best: 3)
    #expect(forced.finish == .forced)
    #expect(forced.text == answer.text)
    for (a, b) in zip(forced.tokens, answer.tokens) {
      #expect(a.id == b.id && a.best.map(\.id) == b.best.map(\.id))
      #expect(abs(a.logProbability - b.logProbability) < 1e-11)
    }
  }

  @Test("What is said of a prompt is what is said of it as an answer that is given")
  func prompt() throws {
    let prompt = try ModelCase("text").prompt
    let model = Pixtral<Double>(tiny)
    let answer = try model.answer(
      prompt, tokenizer: tokenizer,
      options: options {
        $0.maxTokens = 3
        $0.promptBest = 2
      })
    let given = try model.answer(
      Prompt(tokens: [prompt.tokens[0]]), forced: Array(prompt.tokens.dropFirst()), tokenizer: tokenizer,
      best: 2)
    try #require(answer.prompt.count == prompt.tokens.count - 1 && given.tokens.count == answer.prompt.count)
    for (a, b) in zip(answer.prompt, given.tokens) {
      #expect(a.id == b.id && a.rank == b.rank && a.best.map(\.id) == b.best.map(\.id))
      #expect(abs(a.logProbability - b.logProbability) < 1e-11)
    }
    let silent = try model.answer(prompt, tokenizer: tokenizer, options: options { $0.maxTokens = 3 })
    #expect(silent.prompt.isEmpty && silent.tokens == answer.tokens)
  }

  @Test("Logits of a long prompt are computed in parts, and are the same")
  func longPrompt() throws {
    let tokens = [1] + (0..<1500).map { 1000 + $0 * 7 % 3000 }
    let model = Pixtral<Double>(tiny)
    let answer = try model.answer(
      Prompt(tokens: tokens), tokenizer: tokenizer,
      options: options {
        $0.maxTokens = 1
        $0.promptBest = 0
      })
    let whole = try model(Prompt(tokens: tokens))
    try #require(answer.prompt.count == 1500)
    for n in [0, 1022, 1023, 1024, 1499] {
      let prediction = try Prediction(whole.row(n), position: n)
      #expect(abs(answer.prompt[n].logProbability - prediction.logProbability(of: tokens[n + 1])) < 1e-11)
    }
  }

  @Test("Each position behind the prompt is computed once, and images are encoded once")
  func nothingTwice() throws {
    let prompt = try ModelCase("small-rgba").prompt
    let rows = RowCounter()
    _ = try Pixtral<Float>(tiny).answer(
      prompt, tokenizer: tokenizer, options: options { $0.maxTokens = 5 }, trace: Trace(rows))
    #expect(rows.counts["decoder.layers.2.attention.k"] == [prompt.tokens.count, 1, 1, 1, 1])
    #expect(rows.counts["vision.patch_conv"]?.count == 1)
    #expect(rows.counts["logits"] == [1, 1, 1, 1, 1])
  }

  @Test("An answer ends with </s>, which is one of its tokens and no text")
  func end() throws {
    // Every token is as likely as any other: the seed's numbers are 17, 8, 0, 19, 2 of 20.
    let answer = try uniform(options { $0.sampling = Sampling(temperature: 1, seed: 0) })
    #expect(answer.tokens.map(\.id) == [17, 8, 0, 19, 2])
    #expect(answer.finish == .stop)
    #expect(answer.text == (try tokenizer.decode([17, 8, 0, 19])))
    #expect(answer.tokens.allSatisfy { abs($0.logProbability - -2.995732273553991) < 1e-6 }, "-ln 20")
  }

  @Test("Log-probabilities are those before the temperature")
  func beforeTemperature() throws {
    let prompt = try ModelCase("text").prompt
    let model = Pixtral<Double>(tiny)
    let sampled = try model.answer(
      prompt, tokenizer: tokenizer,
      options: options {
        $0.maxTokens = 6
        $0.sampling = Sampling(temperature: 0.5, topP: 0.8, seed: 1)
      })
    let forced = try model.answer(prompt, forced: sampled.tokens.map(\.id), tokenizer: tokenizer)
    for (a, b) in zip(sampled.tokens, forced.tokens) {
      #expect(abs(a.logProbability - b.logProbability) < 1e-11)
    }
  }

  @Test("An answer of as many tokens as it may have ends by its length")
  func length() throws {
    let answer = try uniform(
      options {
        $0.sampling = Sampling(temperature: 1, seed: 0)
        $0.maxTokens = 3
      })
    #expect(answer.tokens.map(\.id) == [17, 8, 0])
    #expect(answer.finish == .length)
  }

  @Test("An answer whose last token is </s> ends by it, not by its length")
  func endAtTheLength() throws {
    let answer = try uniform(
      options {
        $0.sampling = Sampling(temperature: 1, seed: 0)
        $0.maxTokens = 5
      })
    #expect(answer.tokens.last?.id == 2)
    #expect(answer.finish == .stop)
  }

  @Test("A given answer of more than a part has a log-probability for each token, as in one go")
  func forcedInParts() throws {
    let ids = (0..<1030).map { ($0 * 7) % 10 }
    let checkpoint = try Checkpoint(smallCheckpoint(in: folder))
    let rows = RowCounter()
    let model = Pixtral<Double>(checkpoint)
    let forced = try model.answer(
      Prompt(tokens: [1, 3, 4]), forced: ids, tokenizer: tokenizer, trace: Trace(rows))
    #expect(rows.counts["logits"] == [1, 1024, 5])
    #expect(forced.tokens.map(\.id) == ids)
    let whole = try model(Prompt(tokens: [1, 3, 4] + ids.dropLast()), logitRows: ids.count)
    for (n, token) in forced.tokens.enumerated() {
      let expected = try Prediction(whole.row(n), position: n).logProbability(of: token.id)
      #expect(abs(token.logProbability - expected) < 1e-11, "token \(n)")
    }
  }

  @Test("Half a character at the end is U+FFFD, at which an answer may stop")
  func stopAtHalfACharacter() throws {
    // Of 1027 tokens, all alike, the seed's number is 1008: the first byte of three.
    let answer = try uniform(
      options {
        $0.sampling = Sampling(temperature: 1, seed: 44)
        $0.maxTokens = 1
        $0.stops = ["\u{fffd}"]
      }, vocabularySize: 1027)
    #expect(answer.tokens.map(\.id) == [1008])
    #expect(answer.finish == .stop && answer.text.isEmpty)
  }

  @Test("No tokens are wanted: none come")
  func nothing() throws {
    let answer = try uniform(options { $0.maxTokens = 0 })
    #expect(answer.tokens.isEmpty && answer.text.isEmpty && answer.finish == .length)
  }

  @Test("A checkpoint of more tokens than the tokenizer has pieces is refused")
  func largeVocabulary() throws {
    let parameters = smallParameters.replacing(#""vocab_size": 20"#, with: #""vocab_size": 32769"#)
    let path = try smallCheckpoint(in: folder, parameters: parameters) { file in
      for n in file.tensors.indices
      where ["tok_embeddings.weight", "output.weight"].contains(file.tensors[n].name) {
        file.tensors[n].shape = [32769, 4]
        file.tensors[n].bytes = [UInt8](repeating: 0, count: 32769 * 16)
      }
    }
    let error = try #require(throws: InputError.self) {
      try Pixtral<Float>(Checkpoint(path)).answer(Prompt(tokens: [1]), tokenizer: tokenizer)
    }
    #expect(error.kind == .wrongParameters)
  }

  @Test("A token that is none is refused in a given answer")
  func forcedToken() throws {
    let error = try #require(throws: InputError.self) {
      try Pixtral<Float>(tiny).answer(Prompt(tokens: [1]), forced: [3, 32768], tokenizer: tokenizer)
    }
    #expect(error.kind == .wrongTokens && error.description.contains("token 1 of the answer"))
  }

  @Test("An [IMG] in an answer is a token like any other")
  func imageToken() throws {
    let answer = try Pixtral<Float>(tiny).answer(
      Prompt(tokens: [1, 3, 4]), forced: [10, 14, 15], tokenizer: tokenizer)
    #expect(answer.tokens.count == 3 && answer.text.isEmpty)
  }

  /// The answer of a model to which all tokens are alike.
  private func uniform(_ options: AnswerOptions, vocabularySize size: Int = 20) throws -> Answer {
    let parameters = smallParameters.replacing(#""vocab_size": 20"#, with: #""vocab_size": \#(size)"#)
    let path = try smallCheckpoint(in: folder, parameters: parameters) { file in
      let norm = file.tensors.firstIndex { $0.name == "norm.weight" }!
      file.tensors[norm].bytes = [UInt8](repeating: 0, count: 16)
      for n in file.tensors.indices
      where ["tok_embeddings.weight", "output.weight"].contains(file.tensors[n].name) {
        file.tensors[n].shape = [size, 4]
        file.tensors[n].bytes += [UInt8](repeating: 0, count: (size - 20) * 16)
      }
    }
    return try Pixtral<Float>(Checkpoint(path)).answer(
      Prompt(tokens: [1, 3, 4]), tokenizer: tokenizer, options: options)
  }
}

/// How many rows each tap has, each time it is computed.
private final class RowCounter: TraceRecorder {
  private(set) var counts: [String: [Int]] = [:]

  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) {
    counts[name, default: []].append(value.rows)
  }
}
