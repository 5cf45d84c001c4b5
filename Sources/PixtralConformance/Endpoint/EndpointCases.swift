import PixtralReference
import PixtralStorage
import PixtralText

// Stage endpoint: what a server tells of prompts, and of what comes behind them.

extension Asking {
  func endpoint(_ question: ConformanceCase) throws -> CaseVerdict {
    guard let runtime = runtime as? Endpoint, let suite = runtime.suite else {
      return CaseVerdict(question, .unsupported, "only an endpoint is asked this")
    }
    let cases = EndpointCases(asking: self, endpoint: runtime, suite: suite)
    if let prompt = suite.prompt(of: question), !cases.isAsked(prompt) {
      return CaseVerdict(
        question, .unsupported, "the server does not continue a message that has no end")
    }
    return switch question.operation {
    case "the tokens of a prompt": cases.tokens(question)
    case "the log-probabilities behind a prompt": try cases.logprobs(question)
    case "how known mistakes move the log-probabilities": try cases.mistakes(question)
    case "what moves the log-probabilities": try cases.influence(question)
    case "refuse a request": cases.refusal(question)
    case "what every answer keeps": try cases.keeps(question)
    case let other: lacks(question, other)
    }
  }
}

/// Verdicts of stage endpoint.
struct EndpointCases {
  let asking: Asking
  let endpoint: Endpoint
  let suite: EndpointSuite

  var server: Server { endpoint.server }

  /// Above these a mean divergence is no noise, and surely wrong: 2 and 8 times the distance of right runs.
  static let (near, far) = (4.0, 64.0)

  /// Whether a prompt is judged: one of the other rule of images is not, and one that is to be continued only of a
  /// server that continues.
  func isAsked(_ prompt: String) -> Bool {
    (prompt != "continued" || server.capabilities.continues)
      && suite.tokensCase(prompt).map { asking.notAsked($0) == nil } ?? true
  }

  func outcome(_ prompt: String, again: Int = 0) -> Server.Outcome {
    let positions = suite.positions(prompt)
    guard let request = suite.request(prompt) else { return .malformed("there is no prompt \(prompt)") }
    return server.told(
      of: prompt, request, positions: positions ?? 1, likely: positions != nil, again: again)
  }

  /// A verdict on how far log-probabilities are from where they should be, as a divergence.
  func verdict(_ kl: Double, noise: Double) -> CaseVerdict.Verdict {
    kl.isNaN || kl > Self.far * noise ? .failed : kl > Self.near * noise ? .undecided : .passed
  }

  /// A verdict on what is no answer.
  private func unanswered(_ question: ConformanceCase, _ outcome: Server.Outcome) -> CaseVerdict? {
    switch outcome {
    case .told: return nil
    case .refused(let status, let why):
      return CaseVerdict(question, .failed, "refused with status \(status): \(shortened(why, to: 200))")
    case .crashed(let how): return CaseVerdict(question, .crashed, how)
    case .timedOut: return CaseVerdict(question, .timedOut)
    case .malformed(let what): return CaseVerdict(question, .malformed, what)
    }
  }

  /// The same, and on what lacks its log-probabilities.
  func unlikely(_ question: ConformanceCase, _ outcome: Server.Outcome) -> CaseVerdict? {
    if case .told(let told) = outcome, let lack = told.lacksLogprobs {
      return CaseVerdict(question, .malformed, lack)
    }
    return unanswered(question, outcome)
  }

  /// A verdict where no log-probabilities are told: that is a lack, unless asking for them breaks the server.
  func withoutLogprobs(_ question: ConformanceCase) -> CaseVerdict {
    server.capabilities.trouble.map {
      CaseVerdict(question, .crashed, "asked for log-probabilities, the server fails: \($0)")
    }
      ?? CaseVerdict(question, .unsupported, "the server tells no log-probabilities")
  }

  // MARK: - Tokens

  func tokens(_ question: ConformanceCase) -> CaseVerdict {
    let prompt = suite.prompt(of: question) ?? ""
    let outcome = outcome(prompt)
    guard case .told(let told) = outcome else { return unanswered(question, outcome)! }
    if let lack = told.lacksTokens { return CaseVerdict(question, .malformed, lack) }
    let expected = question.expect["tokens"]?.integers ?? []
    switch endpoint.tokens(of: prompt, told) {
    case .told(let found):
      if let count = told.count, count != found.count {
        return CaseVerdict(
          question, .failed, "usage counts \(count) tokens, and \(found.count) are told")
      }
      return asking.verdict(onTokens: found, expected, question)
    case .lacking(let outcome):
      if let verdict = unanswered(question, outcome) { return verdict }
    case .none: break
    }
    guard let count = told.count else {
      return CaseVerdict(question, .unsupported, "the server tells neither tokens nor their number")
    }
    return asking.verdict(onCount: count, expected, question)
  }

  // MARK: - Log-probabilities

  func logprobs(_ question: ConformanceCase) throws -> CaseVerdict {
    guard endpoint.declared.hasKnownWeights else {
      return CaseVerdict(question, .unsupported, "nothing is known of what these weights say")
    }
    let prompt = suite.prompt(of: question) ?? ""
    guard let (told, golden) = try toldAndKnown(prompt) else {
      return unlikely(question, outcome(prompt)) ?? withoutLogprobs(question)
    }
    guard let noise = golden.noise[endpoint.description.arithmetic] else {
      return CaseVerdict(question, .unsupported, "right runs overflow in this arithmetic")
    }
    let found = divergences(told, golden)
    if found.isCutOff {
      return CaseVerdict(
        question, .failed, "the answer ends behind \(told.positions.count) of \(golden.answer.count) tokens")
    }
    let verdict = verdict(found.kl, noise: noise)
    let detail =
      verdict == .passed
      ? nil
      : "mean KL at \(found.behind.count) places behind the prompt \(scientific(found.meanBehind)) nats"
        + (found.own.isEmpty ? "" : ", at \(found.own.count) of its tokens \(scientific(found.meanOwn))")
    return CaseVerdict(
      question, verdict, detail, tap: verdict == .passed ? nil : "logprobs", distance: found.kl,
      limit: Self.near * noise)
  }

  /// nil if the server tells no log-probabilities behind a prompt.
  func toldAndKnown(_ prompt: String) throws -> (told: Told, golden: Golden)? {
    guard isAsked(prompt), case .told(let told) = outcome(prompt), told.lacksLogprobs == nil,
      told.positions.first?.best.isEmpty == false
    else { return nil }
    return (told, try suite.golden(prompt))
  }

  /// How far a server's log-probabilities are from what is right.
  struct Divergences {
    /// At each place behind the prompt, as long as the answer is the known one; at each of the prompt's own tokens.
    var behind: [Double] = []
    var own: [Double] = []
    /// Whether the answer ends where the known one goes on.
    var isCutOff = false

    var meanBehind: Double { mean(behind) }
    var meanOwn: Double { own.isEmpty ? 0 : mean(own) }
    /// The larger of the means.
    var kl: Double { max(meanBehind, meanOwn) }
  }

  func divergences(_ told: Told, _ golden: Golden) -> Divergences {
    var found = Divergences()
    var isKnown = true
    for (n, position) in told.positions.prefix(golden.positions.count).enumerated() {
      guard
        let divergence = Divergence(position.best, floor: position.floor, from: golden.positions[n])
      else { break }
      found.behind.append(divergence.kl)
      isKnown = position.chosen.candidates.contains(golden.answer[n])
      if !isKnown { break }
    }
    let asked = server.capabilities.scaled == true ? 1 : golden.answer.count
    found.isCutOff = isKnown && found.behind.count < asked
    if let own = told.prompt, own.count == golden.prompt.count {
      found.own = zip(own, golden.prompt).map { Divergence.ofOne(told: $0, known: $1) }
    }
    return found
  }

  // MARK: - Refusals

  func refusal(_ question: ConformanceCase) -> CaseVerdict {
    let outcomes = ["request", "mended"].map { key in
      server.told(
        of: "\(question.id) \(key)", question.inputs[key] ?? .none, positions: 1, likely: false)
    }
    guard case .told = outcomes[1] else {
      return unanswered(question, outcomes[1]).map { verdict in
        CaseVerdict(
          question, verdict.verdict, "the request that is right is not answered: \(verdict.detail ?? "")")
      } ?? CaseVerdict(question, .failed)
    }
    switch outcomes[0] {
    case .refused(let status, _):
      return [400, 422].contains(status)
        ? CaseVerdict(question, .passed)
        : CaseVerdict(question, .failed, "expected status 400, found \(status)")
    case .told: return CaseVerdict(question, .failed, "expected status 400, found an answer")
    case .crashed(let how): return CaseVerdict(question, .failed, "expected status 400, found \(how)")
    case .timedOut: return CaseVerdict(question, .timedOut)
    case .malformed(let what): return CaseVerdict(question, .malformed, what)
    }
  }
}
