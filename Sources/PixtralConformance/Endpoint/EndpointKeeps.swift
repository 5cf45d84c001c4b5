import Glibc
import PixtralReference
import PixtralText

// What every answer keeps, whatever is asked.

extension EndpointCases {
  func keeps(_ question: ConformanceCase) throws -> CaseVerdict {
    var positions: [(String, Int, Told.Position)] = []
    for prompt in suite.prompts.filter(isAsked) {
      guard case .told(let told) = outcome(prompt) else { continue }
      if let lack = told.lacksLogprobs { return CaseVerdict(question, .malformed, "\(prompt): \(lack)") }
      positions += told.positions.enumerated().map { (prompt, $0.offset, $0.element) }
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
        guard let best = position.best.first?.logprob else { return nil }
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

  /// A verdict on three answers to one request, if one did not come, or if they choose other tokens than each other
  /// where none is nearly as likely.
  private func differing(_ question: ConformanceCase) -> CaseVerdict? {
    var answers: [[Told.Position]] = []
    for outcome in repeats {
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
}
