import Glibc
import PixtralReference
import PixtralStorage

/// What a server may have wrong, the likeliest first: mistakes of the oracle, and what can become of
/// log-probabilities on their way, and one prompt in the place of all.
///
/// Each says what it would answer to each prompt. What was told beside that has a likelihood: of tokens, whether
/// they are the same; of log-probabilities, Cauchy's with the noise of right runs as its width, so that a mistake
/// that is nearly met goes before one that is far, and one prompt decides nothing alone. None of the known is
/// likelier than a mistake that does not come four times as near as the truth, or as near as noise.
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

  /// In the order of their likelihood, with `none`.
  let ranked: [Ranked]

  /// The cost of other tokens than were told; of log-probabilities 27 is where one unit is a million times noise.
  private static let otherTokens = 30.0
  /// Of a number that is fitted, such as a scale.
  private static let fitted = 3.0

  init(_ observations: [Observation], known: [KnownSuspect]) {
    let weighed = observations.map(Weighed.init)
    let none = Ranked(
      name: Self.none, id: nil, likelihood: -weighed.reduce(0) { $0 + $1.none.sum }, explained: [])
    let ranked = known.map { Self.ranked($0, weighed) } + Self.ofTelling(weighed) + Self.ofOnePrompt(weighed)
    // Who explains nothing is not suspected. Forms of one mistake are one: the likeliest.
    var seen: Set<String> = []
    self.ranked = (ranked.filter { !$0.explained.isEmpty } + [none])
      .sorted { ($1.likelihood, $0.name) < ($0.likelihood, $1.name) }
      .filter { seen.insert($0.id ?? $0.name).inserted }
  }

  // MARK: - Costs

  /// What is paid for the tokens of a prompt, and for the log-probabilities behind it.
  private struct Cost {
    var tokens, logprobs: Double
    var sum: Double { tokens + logprobs }
  }

  /// An observation, with what the truth pays for it, and none of the known.
  private struct Weighed {
    let observation: Observation
    let truth, none: Cost
    /// Whether there is something to explain: other tokens, or more than noise.
    let isWrong: Bool

    init(_ observation: Observation) {
      self.observation = observation
      let (hasWrongTokens, squares) = (
        observation.hasWrongTokens, observation.squares(from: observation.golden)
      )
      isWrong = hasWrongTokens || squares.map { $0 > observation.noise } ?? false
      truth = Cost(tokens: hasWrongTokens ? otherTokens : 0, logprobs: observation.cost(squares))
      // A quarter of the way, but no nearer than noise.
      let quarter = squares.map { max($0 / 16, min($0, observation.noise)) }
      none = Cost(tokens: hasWrongTokens ? otherTokens - log(16) : 0, logprobs: observation.cost(quarter))
    }

    /// What is paid for log-probabilities if others are known.
    func cost(of known: [KnownToken]) -> Double { observation.cost(observation.squares(from: known)) }
  }

  private static func ranked(_ suspect: KnownSuspect, _ observations: [Weighed]) -> Ranked {
    var (likelihood, explained) = (0.0, Set<String>())
    for weighed in observations {
      let (observation, truth, none) = (weighed.observation, weighed.truth, weighed.none)
      guard let answer = suspect.answers[observation.prompt] else {  // what is right
        likelihood -= truth.sum
        continue
      }
      guard let answer else {  // nobody can say
        likelihood -= none.sum
        continue
      }
      var cost = truth
      if let tokens = answer.tokens {
        // With other tokens the log-probabilities are others, too.
        cost = Cost(tokens: observation.fits(tokens) ? 0 : otherTokens, logprobs: none.logprobs)
      }
      if let best = answer.best { cost.logprobs = weighed.cost(of: best) }
      likelihood -= cost.sum
      // It says what was told, and the truth does not.
      if cost.sum < none.sum, weighed.isWrong { explained.insert(observation.prompt) }
    }
    return Ranked(name: suspect.name, id: suspect.id, likelihood: likelihood, explained: explained)
  }

  // MARK: - One prompt in the place of all

  /// As many tokens whatever is asked, and the same where they are told.
  private static func ofOnePrompt(_ observations: [Weighed]) -> [Ranked] {
    let told = observations.map(\.observation)
    guard let first = told.first, let count = first.count, told.count > 2,
      told.allSatisfy({ $0.count == count && $0.hash == first.hash })
    else { return [] }
    let likelihood = -fitted - observations.reduce(0) { $0 + $1.none.logprobs }
    return [
      Ranked(
        name: "the same \(count) tokens whatever is asked", id: nil, likelihood: likelihood,
        explained: Set(told.filter(\.hasWrongTokens).map(\.prompt)))
    ]
  }

  // MARK: - What becomes of log-probabilities on their way

  private static func ofTelling(_ observations: [Weighed]) -> [Ranked] {
    let told = observations.map(\.observation).filter { !$0.best.isEmpty }
    guard !told.isEmpty else { return [] }
    let (scale, slope) = fit(told)
    func each(_ change: @escaping (Double) -> Double) -> (Observation) -> [KnownToken] {
      { $0.golden.map { KnownToken(id: $0.id, logprob: change($0.logprob)) } }
    }
    /// A temperature: log-probabilities of one place move together.
    func heated(_ observation: Observation) -> [KnownToken] {
      let pairs = matched(observation)
      let shift = pairs.isEmpty ? 0 : mean(pairs.map { $0.told - slope * $0.known })
      return observation.golden.map { KnownToken(id: $0.id, logprob: slope * $0.logprob + shift) }
    }
    var changes: [(String, Double, (Observation) -> [KnownToken])] = [
      ("logarithms to the base of 10", 0, each { $0 / log(10) }),
      ("logarithms to the base of 2", 0, each { $0 / log(2) }),
      ("probabilities in the place of log-probabilities", 0, each(exp)),
      ("log-probabilities without their sign", 0, each { -$0 }),
      ("log-probabilities rounded to bfloat16", 0, each(DType.bf16.round)),
      ("log-probabilities rounded to float16", 0, each(DType.f16.round)),
    ]
    if scale > 0, scale.isFinite {
      let shown = abs(scale - 1) < 1e-3 ? "1 + \(scientific(scale - 1))" : fixed(scale, 3)
      changes.append(("log-probabilities scaled by \(shown)", fitted, each { $0 * scale }))
    }
    let pairs = told.flatMap(matched)
    if !pairs.isEmpty {
      let shift = mean(pairs.map { $0.told - $0.known })
      changes.append(("log-probabilities moved by \(scientific(shift))", fitted, each { $0 + shift }))
    }
    // Near 1 it is that, or a shift.
    if slope > 1e-3, slope.isFinite, abs(slope - 1) > 1e-3 {
      changes.append(("a temperature of \(fixed(1 / slope, 3))", 2 * fitted, heated))
    }
    return changes.map { name, price, change in
      var (likelihood, explained) = (-price, Set<String>())
      for weighed in observations {
        let observation = weighed.observation
        // Behind other tokens it says nothing.
        let isKnown = !observation.best.isEmpty && !observation.hasWrongTokens
        let logprobs = isKnown ? weighed.cost(of: change(observation)) : weighed.none.logprobs
        likelihood -= weighed.truth.tokens + logprobs
        if isKnown, logprobs < weighed.none.logprobs, weighed.isWrong { explained.insert(observation.prompt) }
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
      let means = (told: mean(pairs.map(\.told)), known: mean(pairs.map(\.known)))
      for pair in pairs {
        cross += pair.told * pair.known
        squares += pair.known * pair.known
        centredCross += (pair.told - means.told) * (pair.known - means.known)
        centredSquares += (pair.known - means.known) * (pair.known - means.known)
      }
    }
    return (squares > 0 ? cross / squares : 1, centredSquares > 0 ? centredCross / centredSquares : 1)
  }
}

extension Observation {
  /// The mean square of how far the log-probabilities are from those; nil where none are told.
  fileprivate func squares(from known: [KnownToken]) -> Double? {
    Divergence(best, floor: floor, from: known)?.meanSquare
  }

  fileprivate func cost(_ squares: Double?) -> Double {
    // So far away that it does not matter how far.
    squares.map { log1p(($0 < 1e6 ? $0 : 1e6) / noise) } ?? 0
  }
}
