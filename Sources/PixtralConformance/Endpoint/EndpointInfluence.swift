import PixtralReference
import PixtralStorage
import PixtralText

// What an image, another or its place moves; and what the same request does.

extension EndpointCases {
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

  /// Three answers to one request.
  var repeats: [Server.Outcome] { (0...2).map { outcome("image", again: $0) } }

  /// How far apart answers to one request are: the largest movement of two repeats.
  func ownNoise() -> Double {
    let first = repeats.compactMap { outcome -> [Told.Likely]? in
      guard case .told(let told) = outcome else { return nil }
      return told.positions.first?.best
    }
    guard let one = first.first else { return 0 }
    return first.dropFirst().map { movement(one, $0) }.max() ?? 0
  }
}
