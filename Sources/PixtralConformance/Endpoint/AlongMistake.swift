import Glibc
import PixtralStorage

/// How far the log-probabilities behind all prompts together are moved as one known mistake moves them: 1 × where a
/// server makes it, 0 × where it does not. A mistake that moves each by a few times the noise, as another
/// activation does in bfloat16, is plain where a hundred of them are moved together.
///
/// Of each log-probability it is known how far the mistake moves it, d, and told how far it is moved, m. With the
/// noise σ of its prompt the amount is Σ m·d/σ² ÷ Σ d²/σ²: the least squares.
struct AlongMistake {
  enum Verdict: String {
    /// It is there, and with it the rest is near, or four times as near as without.
    case made
    /// Not made: the amount is surely another than 1.
    case absent
    /// What it moves is too little, or too much else is moved.
    case open
  }

  let name: String
  /// Its id in Faults.md, if it has one.
  let id: String?
  let amount: Double
  /// Of the amount. As if all deviations behind a prompt went together, and no less than prompts differ.
  let error: Double
  /// How many prompts it moves.
  let prompts: Int
  let verdict: Verdict
  /// How much of the deviation it explains, in squares of noise.
  let explained: Double

  /// Standard errors that are no accident, for each of forty mistakes.
  static let surely = 5.0
  /// Below this many nobody need look twice.
  static let barely = 3.0
  /// Between these it may be the mistake, in an arithmetic of its own.
  static let whole = 0.5...1.5

  /// Whether it may be there, though not surely.
  var isNear: Bool {
    verdict == .open && explained > 0 && Self.whole.contains(amount) && amount > Self.barely * error
  }

  /// - observations: of those prompts that have the mistake's tokens the log-probabilities count.
  /// - Returns: nil if it moves those of fewer than two prompts.
  init?(_ suspect: KnownSuspect, _ observations: [Suspects.Observation]) {
    var sums: [(cross: Double, squares: Double)] = []
    var (worst, total, remaining, count) = (0.0, 0.0, 0.0, 0.0)
    for observation in observations {
      guard case .some(.some(let answer)) = suspect.answers[observation.prompt], let known = answer.best,
        answer.tokens.map({ observation.has(count: $0.count, hash: $0.hash) }) ?? !observation.hasWrongTokens
      else { continue }
      let moves = observation.moves(to: known)
      guard !moves.isEmpty else { continue }
      let noise = observation.noise
      let cross = moves.reduce(0) { $0 + $1.told * $1.mistake } / noise
      sums.append((cross, moves.reduce(0) { $0 + $1.mistake * $1.mistake } / noise))
      let absolute = moves.reduce(0) { $0 + abs($1.mistake) }
      worst += absolute * absolute / noise
      total += moves.reduce(0) { $0 + $1.told * $1.told } / noise
      remaining += moves.reduce(0) { $0 + ($1.told - $1.mistake) * ($1.told - $1.mistake) } / noise
      count += Double(moves.count)
    }
    let squares = sums.reduce(0) { $0 + $1.squares }
    guard sums.count > 1, squares > 0 else { return nil }
    let amount = sums.reduce(0) { $0 + $1.cross } / squares
    let spread = sums.reduce(0) { $0 + ($1.cross - amount * $1.squares) * ($1.cross - amount * $1.squares) }
    let prompts = Double(sums.count)
    let error = max(worst, spread * prompts / (prompts - 1)).squareRoot() / squares
    let isMet = remaining <= max(EndpointCases.near * count, total / 16)
    (name, id, self.amount, self.error) = (suspect.name, suspect.id, amount, error)
    (self.prompts, explained) = (sums.count, isMet ? total - remaining : 0)
    if isMet, Self.whole.contains(amount), amount > Self.surely * error {
      verdict = .made
    } else {
      let isQuiet = total <= EndpointCases.far * count
      verdict = isQuiet && abs(amount - 1) > Self.surely * error ? .absent : .open
    }
  }

  var words: String {
    "the log-probabilities behind \(prompts) prompts are together moved \(fixed(amount, 2)) ± \(fixed(error, 2)) times "
      + "as far as \(name) moves them"
  }

  var json: JSON {
    [
      "name": .string(name), "looks_like": id.map(JSON.string) ?? .null, "verdict": .string(verdict.rawValue),
      "amount": number(amount), "error": number(error), "prompts": .integer(prompts),
    ]
  }
}

extension Suspects.Observation {
  /// Whether what is told of the tokens fits these.
  fileprivate func has(count: Int, hash: String) -> Bool {
    self.hash.map { $0 == hash } ?? self.count.map { $0 == count } ?? true
  }

  /// How far the log-probabilities of tokens that are told are from what is right, and how far a mistake's are.
  fileprivate func moves(to mistaken: [KnownToken]) -> [(told: Double, mistake: Double)] {
    best.compactMap { one in
      let known = golden.filter { one.candidates.contains($0.id) }
      // Tokens that are spelled alike say nothing here.
      guard known.count == 1, let mistake = mistaken.first(where: { $0.id == known[0].id }) else {
        return nil
      }
      return (one.logprob - known[0].logprob, mistake.logprob - known[0].logprob)
    }
  }
}
