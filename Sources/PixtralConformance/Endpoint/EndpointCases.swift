import Glibc
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

  private var server: Server { endpoint.server }

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
  private func verdict(_ kl: Double, noise: Double) -> CaseVerdict.Verdict {
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
  private func unlikely(_ question: ConformanceCase, _ outcome: Server.Outcome) -> CaseVerdict? {
    if case .told(let told) = outcome, let lack = told.lacksLogprobs {
      return CaseVerdict(question, .malformed, lack)
    }
    return unanswered(question, outcome)
  }

  /// A verdict where no log-probabilities are told: that is a lack, unless asking for them breaks the server.
  private func withoutLogprobs(_ question: ConformanceCase) -> CaseVerdict {
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
    let behind = mean(found.behind)
    let own = found.own.isEmpty ? 0 : mean(found.own)
    let kl = found.kl
    let verdict = verdict(kl, noise: noise)
    let detail =
      verdict == .passed
      ? nil
      : "mean KL at \(found.behind.count) places behind the prompt \(scientific(behind)) nats"
        + (found.own.isEmpty ? "" : ", at \(found.own.count) of its tokens \(scientific(own))")
    return CaseVerdict(
      question, verdict, detail, tap: verdict == .passed ? nil : "logprobs", distance: kl,
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

    /// The larger of the means.
    var kl: Double { max(mean(behind), own.isEmpty ? 0 : mean(own)) }
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

  // MARK: - Influence

  func influence(_ question: ConformanceCase) throws -> CaseVerdict {
    let (one, other) = (question.inputs["prompt"]?.text ?? "", question.inputs["beside"]?.text ?? "")
    for prompt in [one, other] {
      if let verdict = unlikely(question, outcome(prompt)) { return verdict }
    }
    guard case .told(let a) = outcome(one), case .told(let b) = outcome(other),
      let first = a.positions.first?.best, let second = b.positions.first?.best, !first.isEmpty,
      !second.isEmpty
    else { return withoutLogprobs(question) }
    let moved = movement(first, second)
    guard moved.isFinite else {
      return CaseVerdict(question, .failed, "the log-probabilities move without bound")
    }
    let own = ownNoise()
    if question.expect["moves"] != .boolean(true) {
      let noise = try suite.golden(one).noise[endpoint.description.arithmetic] ?? 0
      // Two answers, each with noise.
      let limit = max(2 * noise, 4 * own * own)
      let kl = moved * moved / 2
      let verdict = verdict(kl, noise: limit)
      return CaseVerdict(
        question, verdict,
        verdict == .passed ? nil : "the log-probabilities move by \(scientific(moved)), as a root of nats",
        distance: kl, limit: Self.near * limit)
    }
    guard endpoint.declared.hasKnownWeights else {
      let least = max(10 * own, 1e-3)
      return CaseVerdict(
        question, moved > least ? .passed : moved <= max(2 * own, 1e-6) ? .failed : .undecided,
        "the log-probabilities move by \(scientific(moved)), and by \(scientific(own)) if nothing is changed",
        distance: moved)
    }
    let known = try [one, other].map { try suite.golden($0).positions[0].prefix(first.count) }.map {
      $0.map { Told.Likely(spelling: "\($0.id)", candidates: [$0.id], logprob: $0.logprob) }
    }
    let right = movement(known[0], known[1])
    let part = moved / right
    let verdict: CaseVerdict.Verdict =
      (0.75...1.25).contains(part) ? .passed : part < 0.25 || part > 4 ? .failed : .undecided
    return CaseVerdict(
      question, verdict,
      "the log-probabilities move \(fixed(part, 3)) times as far as they should"
        + (part < 0.25 ? ": what was changed is hardly seen, or not at all" : ""), distance: part)
  }

  /// How far apart two lists of likeliest tokens are: the root of the divergence one way and the other.
  private func movement(_ a: [Told.Likely], _ b: [Told.Likely]) -> Double {
    // Tokens of one server are the same if they are spelled the same.
    var numbers: [String: Int] = [:]
    func numbered(_ list: [Told.Likely]) -> [Told.Likely] {
      list.map { one in
        let spelling = one.candidates.count == 1 ? "\(one.candidates[0])" : "spelled \(one.spelling)"
        let number = numbers[spelling] ?? numbers.count
        numbers[spelling] = number
        return Told.Likely(spelling: spelling, candidates: [number], logprob: one.logprob)
      }
    }
    let lists = [numbered(a), numbered(b)]
    func known(_ list: [Told.Likely]) -> [KnownToken] {
      list.map { KnownToken(id: $0.candidates[0], logprob: $0.logprob) }
    }
    let there = Divergence(lists[0], from: known(lists[1]))?.kl ?? 0
    let back = Divergence(lists[1], from: known(lists[0]))?.kl ?? 0
    return (there + back).squareRoot()
  }

  /// How far apart answers to one request are: the largest movement of two repeats.
  func ownNoise() -> Double {
    let first = [0, 1, 2].compactMap { again -> [Told.Likely]? in
      guard case .told(let told) = outcome("image", again: again) else { return nil }
      return told.positions.first?.best
    }
    guard let one = first.first else { return 0 }
    return first.dropFirst().map { movement(one, $0) }.max() ?? 0
  }

  /// A verdict on three answers to one request, if one did not come, or if they choose other tokens than each other
  /// where none is nearly as likely.
  private func differing(_ question: ConformanceCase) -> CaseVerdict? {
    var answers: [[Told.Position]] = []
    for again in 0...2 {
      let outcome = outcome("image", again: again)
      if let verdict = unlikely(question, outcome) { return verdict }
      if case .told(let told) = outcome { answers.append(told.positions) }
    }
    guard server.capabilities.scaled != true, let first = answers.first else { return nil }
    for other in answers.dropFirst() {
      for (n, (a, b)) in zip(first, other).enumerated() where a.chosen.spelling != b.chosen.spelling {
        let isClose = a.best.count > 1 && a.best[0].logprob - a.best[1].logprob < 0.05
        return isClose
          ? nil : CaseVerdict(question, .failed, "two answers to one request differ at place \(n)")
      }
    }
    return nil
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

  // MARK: - What every answer keeps

  func keeps(_ question: ConformanceCase) throws -> CaseVerdict {
    let positions = suite.prompts.filter(isAsked).flatMap { prompt -> [(String, Int, Told.Position)] in
      guard case .told(let told) = outcome(prompt) else { return [] }
      return told.positions.enumerated().map { (prompt, $0.offset, $0.element) }
    }
    for prompt in suite.prompts.filter(isAsked) {
      if case .told(let told) = outcome(prompt), let lack = told.lacksLogprobs {
        return CaseVerdict(question, .malformed, "\(prompt): \(lack)")
      }
    }
    guard !positions.isEmpty else { return withoutLogprobs(question) }
    // What numbers of the arithmetic may lack, of which there are up to twenty in a sum.
    let slack = [.float16, .bfloat16].contains(endpoint.description.arithmetic) ? 0.02 : 1e-5
    func all(_ holds: (Told.Position) -> String?) -> CaseVerdict {
      for (prompt, n, position) in positions {
        if let what = holds(position) {
          return CaseVerdict(question, .failed, "\(prompt), place \(n): \(what)")
        }
      }
      return CaseVerdict(question, .passed)
    }
    switch question.expect["keeps"]?.text {
    case "at-most-zero":
      return all { position in
        ([position.chosen] + position.best).first { !($0.logprob <= 1e-6) }.map {
          "the log-probability \($0.logprob)"
        }
      }
    case "sum-at-most-one":
      return all { position in
        let sum = position.best.reduce(0) { $0 + exp($1.logprob) }
        return sum <= 1 + slack ? nil : "\(position.best.count) probabilities come to \(sum)"
      }
    case "greedy":
      if server.capabilities.scaled == true {
        return CaseVerdict(question, .unsupported, "the server tells log-probabilities at temperature 1 only")
      }
      return all { position in
        let chosen = position.chosen
        guard let best = position.best.map(\.logprob).max() else { return nil }
        // At a temperature above 0 a token that is nearly as likely is drawn, too.
        if chosen.logprob < best - slack - 20 * server.capabilities.coldest {
          return "a token of log-probability \(chosen.logprob) is chosen, and \(best) is the likeliest"
        }
        let isListed = position.best.contains {
          $0.spelling == chosen.spelling && abs($0.logprob - chosen.logprob) <= slack
        }
        return isListed ? nil : "the token that is chosen, of \(chosen.logprob), is not so in the list"
      }
    case "repeated":
      if let verdict = differing(question) { return verdict }
      let own = ownNoise()
      let noise = 2 * (try suite.golden("image").noise[endpoint.description.arithmetic] ?? 0)
      let kl = own * own / 2
      return CaseVerdict(
        question, verdict(kl, noise: noise),
        kl == 0 ? "three answers are equal" : "three answers differ by \(scientific(kl)) nats", distance: kl,
        limit: Self.near * noise)
    default: return CaseVerdict(question, .unsupported, "it is not known what is kept")
    }
  }
}
