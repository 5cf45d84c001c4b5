import Glibc
import PixtralReference
import PixtralStorage

// Cases endpoint/mistakes: what the log-probabilities behind all prompts show together.

extension EndpointCases {
  static let mistakesID = "endpoint/mistakes/known"

  /// How far each known mistake moves what the server tells, the one that explains most first.
  func mistakes() throws -> [AlongMistake] {
    let observations = try observations { _ in true }
    return suite.suspects.compactMap { AlongMistake($0, observations) }
      .sorted { ($1.explained, $0.name) < ($0.explained, $1.name) }
  }

  func mistakes(_ question: ConformanceCase) throws -> CaseVerdict {
    guard endpoint.declared.hasKnownWeights else {
      return CaseVerdict(question, .unsupported, "nothing is known of what these weights say")
    }
    let mistakes = try mistakes()
    if mistakes.isEmpty {
      return server.capabilities.best == 0
        ? withoutLogprobs(question)
        : CaseVerdict(
          question, .unsupported, "no known mistake has the tokens and log-probabilities of two prompts")
    }
    if let made = mistakes.first(where: { $0.verdict == .made }) {
      return CaseVerdict(question, .failed, made.words, tap: "logprobs")
    }
    if let near = mistakes.first(where: \.isNear) {
      return CaseVerdict(question, .undecided, near.words, tap: "logprobs")
    }
    return CaseVerdict(question, .passed)
  }

  /// What was told of the prompts of the cases of tokens, with what is right.
  func observations(of isChosen: (String) -> Bool) throws -> [Suspects.Observation] {
    try suite.cases.filter { $0.id.hasPrefix("endpoint/tokens/") }.compactMap { question in
      guard let prompt = suite.prompt(of: question), isChosen(prompt), isAsked(prompt),
        case .told(let told) = outcome(prompt)
      else { return nil }
      var tokens: [Int]?
      if case .told(let list) = endpoint.tokens(of: prompt, told) { tokens = list }
      let right = suite.tokens(prompt) ?? []
      // Of other weights nothing is known but tokens.
      let isKnown = suite.positions(prompt) != nil && endpoint.declared.hasKnownWeights
      let golden = isKnown ? try suite.golden(prompt) : nil
      let noise = golden?.noise[endpoint.description.arithmetic]
      let mass = golden?.positions[0].prefix(20).reduce(0) { $0 + exp($1.logprob) } ?? 1
      return Suspects.Observation(
        prompt: prompt, count: tokens?.count ?? told.count, hash: tokens.map(Self.hash),
        rightCount: right.count,
        rightHash: Self.hash(right), best: noise == nil ? [] : told.positions.first?.best ?? [],
        floor: told.positions.first?.floor,
        golden: golden?.positions[0] ?? [], noise: max(2 * (noise ?? 0) / mass, 1e-14))
    }
  }

  private static func hash(_ tokens: [Int]) -> String { FaultAnswers.hash(of: FaultAnswers.written(tokens)) }
}
