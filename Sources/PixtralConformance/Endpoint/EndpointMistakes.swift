// Cases endpoint/mistakes: what the log-probabilities behind all prompts show together.

extension EndpointCases {
  static let mistakesID = "endpoint/mistakes/known"

  /// Of all prompts, whichever cases are asked.
  func mistakeFits() throws -> [MistakeFit] { try MistakeFit.all(suite.suspects, observations { _ in true }) }

  func mistakes(_ question: ConformanceCase) throws -> CaseVerdict {
    guard endpoint.declared.hasKnownWeights else {
      return CaseVerdict(question, .unsupported, "nothing is known of what these weights say")
    }
    let fits = try mistakeFits()
    if fits.isEmpty {
      return server.capabilities.best == 0
        ? withoutLogprobs(question)
        : CaseVerdict(
          question, .unsupported, "the server tells too few log-probabilities that a known mistake moves")
    }
    if let made = fits.first(where: { $0.verdict == .made }) {
      return CaseVerdict(question, .failed, made.words, tap: "logprobs")
    }
    if let near = fits.first(where: \.isDoubtful) {
      return CaseVerdict(question, .undecided, near.words, tap: "logprobs")
    }
    let absent = fits.count { $0.verdict == .absent }
    guard 2 * absent >= fits.count else {
      let detail = "of \(fits.count) known mistakes and their forms \(absent) can be ruled out"
      return CaseVerdict(question, .undecided, detail, tap: "logprobs")
    }
    return CaseVerdict(question, .passed)
  }
}
