import Glibc
import PixtralReference
import PixtralStorage

/// What a server may have wrong, the likeliest first: mistakes of the oracle, and what can become of
/// log-probabilities on their way.
///
/// Each says what it would answer to each prompt. What was told beside that has a likelihood: of tokens, whether
/// they are the same; of log-probabilities, Cauchy's with the noise of right runs as its width, so that a mistake
/// that is nearly met goes before one that is far, and one prompt decides nothing alone. None of the known is
/// likelier than a mistake that does not come four times as near as the truth.
struct Suspects {
  struct Ranked {
    let name: String
    /// Its id in Faults.md, if it has one.
    let id: String?
    /// The logarithm of its likelihood, of 0 at most.
    let likelihood: Double
    /// Prompts that it explains, of those that are answered wrongly.
    let explained: Set<String>
  }

  static let none = "none of the known"

  /// What was told of one prompt, with what is right.
  struct Observation {
    let prompt: String
    /// How many tokens there are, and their hash where they are told.
    let count: Int?
    let hash: String?
    let rightCount: Int
    let rightHash: String
    /// The likeliest tokens behind the prompt; empty where none are told.
    let best: [Told.Likely]
    let golden: [KnownToken]
    /// The square of a log-probability's noise.
    let noise: Double

    var hasWrongTokens: Bool { hash.map { $0 != rightHash } ?? count.map { $0 != rightCount } ?? false }
  }

  /// In the order of their likelihood, with `none`.
  let ranked: [Ranked]

  /// The cost of other tokens than were told; of log-probabilities 27 is where one unit is a million times noise.
  private static let otherTokens = 30.0
  /// Of a number that is fitted, such as a scale.
  private static let fitted = 3.0

  init(_ observations: [Observation], known: [KnownSuspect]) {
    var ranked = known.map { suspect in Self.ranked(suspect, observations) }
    ranked += Self.ofTelling(observations)
    ranked.append(
      Ranked(
        name: Self.none, id: nil,
        likelihood: observations.reduce(0) { $0 - Self.costOfNone($1).tokens - Self.costOfNone($1).logprobs },
        explained: []))
    // Forms of one mistake are one: the likeliest.
    var seen: Set<String> = []
    self.ranked = ranked.sorted { ($1.likelihood, $0.name) < ($0.likelihood, $1.name) }
      .filter { seen.insert($0.id ?? $0.name).inserted }
  }

  // MARK: - Costs

  private static func cost(_ squares: Double?, _ observation: Observation) -> Double {
    guard let squares else { return 0 }
    return log1p((squares.isFinite ? squares : 1e6) / observation.noise)
  }

  private static func squares(_ observation: Observation, _ known: [KnownToken]) -> Double? {
    Divergence(observation.best, from: known)?.meanSquare
  }

  private static func costOfNone(_ observation: Observation) -> (tokens: Double, logprobs: Double) {
    let tokens = observation.hasWrongTokens ? otherTokens - log(16) : 0
    // A quarter of the way.
    return (tokens, cost(squares(observation, observation.golden).map { $0 / 16 }, observation))
  }

  private static func costOfTruth(_ observation: Observation) -> (tokens: Double, logprobs: Double) {
    (
      observation.hasWrongTokens ? otherTokens : 0,
      cost(squares(observation, observation.golden), observation)
    )
  }

  private static func ranked(_ suspect: KnownSuspect, _ observations: [Observation]) -> Ranked {
    var (likelihood, explained) = (0.0, Set<String>())
    for observation in observations {
      let truth = costOfTruth(observation)
      guard let answer = suspect.answers[observation.prompt] else {  // what is right
        likelihood -= truth.tokens + truth.logprobs
        continue
      }
      let none = costOfNone(observation)
      guard let answer else {  // nobody can say
        likelihood -= none.tokens + none.logprobs
        continue
      }
      var tokens = truth.tokens
      if let (count, hash) = answer.tokens {
        let isTold = observation.hash.map { $0 == hash } ?? observation.count.map { $0 == count } ?? true
        tokens = isTold ? 0 : otherTokens
      }
      // With other tokens the log-probabilities are others, too.
      var logprobs = answer.tokens == nil ? truth.logprobs : none.logprobs
      if let best = answer.best { logprobs = cost(squares(observation, best), observation) }
      likelihood -= tokens + logprobs
      // It says what was told, and the truth does not.
      if tokens + logprobs < none.tokens + none.logprobs, truth.tokens + truth.logprobs > 0 {
        explained.insert(observation.prompt)
      }
    }
    return Ranked(name: suspect.name, id: suspect.id, likelihood: likelihood, explained: explained)
  }

  // MARK: - What becomes of log-probabilities on their way

  private static func ofTelling(_ observations: [Observation]) -> [Ranked] {
    let told = observations.filter { !$0.best.isEmpty }
    guard !told.isEmpty else { return [] }
    let (scale, slope) = fit(told)
    func each(_ change: @escaping (Double) -> Double) -> (Observation) -> [KnownToken] {
      { $0.golden.map { KnownToken(id: $0.id, logprob: change($0.logprob)) } }
    }
    /// A temperature: log-probabilities of one place move together.
    func heated(_ observation: Observation) -> [KnownToken] {
      let pairs = matched(observation)
      let shift =
        pairs.isEmpty ? 0 : pairs.reduce(0) { $0 + $1.told - slope * $1.known } / Double(pairs.count)
      return observation.golden.map { KnownToken(id: $0.id, logprob: slope * $0.logprob + shift) }
    }
    let changes: [(String, Double, (Observation) -> [KnownToken])] = [
      ("logarithms to the base of 10", 0, each { $0 / log(10) }),
      ("logarithms to the base of 2", 0, each { $0 / log(2) }),
      ("probabilities in the place of log-probabilities", 0, each(exp)),
      ("log-probabilities without their sign", 0, each { -$0 }),
      ("log-probabilities rounded to bfloat16", 0, each { Double(bfloat16(Float($0))) }),
      ("log-probabilities rounded to float16", 0, each { Double(halfPrecision(Float($0))) }),
      ("log-probabilities scaled by \(fixed(scale, 3))", fitted, each { $0 * scale }),
      ("a temperature of \(fixed(1 / slope, 3))", 2 * fitted, heated),
    ]
    return changes.map { name, price, change in
      var (likelihood, explained) = (-price, Set<String>())
      for observation in observations {
        let (truth, none) = (costOfTruth(observation), costOfNone(observation))
        // Behind other tokens it says nothing.
        let isKnown = !observation.best.isEmpty && !observation.hasWrongTokens
        let logprobs =
          isKnown ? cost(squares(observation, change(observation)), observation) : none.logprobs
        likelihood -= truth.tokens + logprobs
        if isKnown, logprobs < none.logprobs { explained.insert(observation.prompt) }
      }
      return Ranked(name: name, id: nil, likelihood: likelihood, explained: explained)
    }
  }

  /// Log-probabilities of tokens that are told and known.
  private static func matched(_ observation: Observation) -> [(told: Double, known: Double)] {
    observation.best.compactMap { one in
      observation.golden.first { one.candidates.contains($0.id) }.map { (one.logprob, $0.logprob) }
    }
  }

  /// What known log-probabilities have to be multiplied with, and their differences at one place.
  private static func fit(_ observations: [Observation]) -> (scale: Double, slope: Double) {
    var (cross, squares, centredCross, centredSquares) = (0.0, 0.0, 0.0, 0.0)
    for observation in observations {
      let pairs = matched(observation)
      guard !pairs.isEmpty else { continue }
      let count = Double(pairs.count)
      let means = (
        told: pairs.reduce(0) { $0 + $1.told } / count, known: pairs.reduce(0) { $0 + $1.known } / count
      )
      for pair in pairs {
        cross += pair.told * pair.known
        squares += pair.known * pair.known
        centredCross += (pair.told - means.told) * (pair.known - means.known)
        centredSquares += (pair.known - means.known) * (pair.known - means.known)
      }
    }
    return (squares > 0 ? cross / squares : 1, centredSquares > 0 ? centredCross / centredSquares : 1)
  }

  /// The nearest number of 8 bits, halves to even.
  private static func bfloat16(_ value: Float) -> Float {
    let bits = value.bitPattern
    return Float(bitPattern: (bits &+ 0x7fff &+ ((bits >> 16) & 1)) & 0xffff_0000)
  }

  /// The nearest number of 11 bits, halves to even, of the size of log-probabilities.
  private static func halfPrecision(_ value: Float) -> Float {
    let bits = value.bitPattern
    return Float(bitPattern: (bits &+ 0xfff &+ ((bits >> 13) & 1)) & 0xffff_e000)
  }
}
