import Glibc
import PixtralReference

/// What was told of one prompt, with what is right.
struct Observation {
  let prompt: String
  /// How many tokens there are, and their hash where they are told.
  let count: Int?
  let hash: String?
  /// Of the right tokens.
  let right: (count: Int, hash: String)
  /// The likeliest tokens behind the prompt; empty where none are told.
  let best: [Told.Likely]
  let floor: Double?
  let golden: [KnownToken]
  /// The square of a log-probability's noise.
  let noise: Double

  var hasWrongTokens: Bool { !fits(right) }

  /// Whether what is told of the tokens may be these: their hash, or their number, or nothing.
  func fits(_ tokens: (count: Int, hash: String)) -> Bool {
    hash.map { $0 == tokens.hash } ?? count.map { $0 == tokens.count } ?? true
  }
}

extension EndpointCases {
  /// What was told of the prompts of the cases of tokens, with what is right.
  func observations(of isChosen: (String) -> Bool) throws -> [Observation] {
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
      return Observation(
        prompt: prompt, count: tokens?.count ?? told.count, hash: tokens.map(Self.hash),
        right: (right.count, Self.hash(right)), best: noise == nil ? [] : told.positions.first?.best ?? [],
        floor: told.positions.first?.floor,
        golden: golden?.positions[0] ?? [], noise: max(2 * (noise ?? 0) / mass, 1e-14))
    }
  }

  private static func hash(_ tokens: [Int]) -> String { FaultAnswers.hash(of: FaultAnswers.written(tokens)) }
}
