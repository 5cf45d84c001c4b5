import Glibc
import PixtralStorage

/// How far the log-probabilities behind all prompts together are moved as one known mistake moves them: 1 × where a
/// server makes it, 0 × where it does not. A mistake that moves each by a few times the noise, as another
/// activation does in bfloat16, is plain where a hundred of them are moved together.
///
/// Of each log-probability it is known how far the mistake moves it, d, and told how far it is moved, m. With the
/// noise σ² of its prompt the amount is Σ m·d/σ² ÷ Σ d²/σ²: the least squares.
struct MistakeFit {
  enum Verdict: String {
    /// The amount is near 1, and what is left is noise, or four times as near as without.
    case made
    /// The amount is near 0 and surely not 1.
    case absent
    /// It moves too little, or much else is moved, or it is there in part.
    case open
  }

  let name: String
  /// Its id in Faults.md, if it has one.
  let id: String?
  /// What its forms have in common.
  var mistake: String { id ?? name }
  let amount: Double
  /// Of the amount: as if all noise behind a prompt went together, and no less than prompts, taken as independent,
  /// differ.
  let standardError: Double
  /// How many prompts it moves.
  let prompts: Int
  private(set) var verdict: Verdict
  /// Whether what is left with it is noise.
  private let leavesNoise: Bool
  /// Whether it may be there though that is not sure, or not all of it.
  let isDoubtful: Bool
  /// How much less is left with it than without, in squares of noise.
  let explained: Double

  /// The fewest log-probabilities, and prompts of equal weight, that one is fitted to: of less it is chance, or one
  /// prompt alone, which has a case of its own.
  private static let (fewest, clusters) = (15.0, 1.2)
  /// Standard errors that are no accident, though there are as many fits as mistakes; and that may be one.
  private static let (critical, doubtful) = (5.0, 3.0)
  /// Amounts of a mistake that is made, in whatever arithmetic; below the other it is what mistakes have in common.
  private static let (whole, common) = (0.6...1.4, 0.2)
  /// Of one that may be there in part, or twice.
  private static let doubted = common...2.5

  /// - observations: of those prompts that have the mistake's tokens the log-probabilities count. A prompt that is
  ///   another one again says nothing new.
  /// - Returns: nil if it moves too few.
  init?(_ suspect: KnownSuspect, _ observations: [Observation]) {
    var prompts: [(cross: Double, squares: Double)] = []
    var (worst, total, count, seen) = (0.0, 0.0, 0.0, [[KnownToken]]())
    for observation in observations where !seen.contains(observation.golden) {
      guard case let answer?? = suspect.answers[observation.prompt], let known = answer.best,
        observation.fits(answer.tokens ?? observation.right)
      else { continue }
      let moves = observation.moves(to: known)
      guard !moves.isEmpty else { continue }
      func sum(_ term: ((told: Double, mistake: Double)) -> Double) -> Double {
        moves.reduce(0) { $0 + term($1) } / observation.noise
      }
      prompts.append((sum { $0.told * $0.mistake }, sum { $0.mistake * $0.mistake }))
      let absolute = sum { abs($0.mistake) }
      worst += absolute * absolute * observation.noise
      total += sum { $0.told * $0.told }
      count += Double(moves.count)
      seen.append(observation.golden)
    }
    let squares = prompts.reduce(0) { $0 + $1.squares }
    let squared = prompts.reduce(0) { $0 + $1.squares * $1.squares }
    guard count >= Self.fewest, squares * squares >= Self.clusters * squared, squared > 0 else { return nil }
    let amount = prompts.reduce(0) { $0 + $1.cross } / squares
    let explained = amount * amount * squares
    let left = total - explained
    let spread = prompts.reduce(0) { $0 + pow($1.cross - amount * $1.squares, 2) }
    let n = Double(prompts.count)
    // There may be more noise than there ought to be.
    let error = max(worst * max(1, left / count), spread * n / (n - 1)).squareRoot() / squares

    leavesNoise = left <= EndpointCases.near * count
    let isMet = leavesNoise || left <= total / 16
    let isQuiet = total <= EndpointCases.far * count
    if isMet, Self.whole.contains(amount), amount > Self.critical * error {
      verdict = .made
    } else if isQuiet, amount < Self.common, 1 - amount > Self.critical * error {
      verdict = .absent
    } else {
      verdict = .open
    }
    isDoubtful = verdict == .open && Self.doubted.contains(amount) && amount > Self.doubtful * error
    (name, id, self.amount, standardError) = (suspect.name, suspect.id, amount, error)
    (self.prompts, self.explained) = (prompts.count, isMet && amount > 0 ? explained : 0)
  }

  /// How far each is made, the one that explains most first.
  static func all(_ known: [KnownSuspect], _ observations: [Observation]) -> [MistakeFit] {
    var fits = known.compactMap { MistakeFit($0, observations) }
      .sorted { ($1.explained, $0.name) < ($0.explained, $1.name) }
    // Of two that are alike one explains all, and the other most.
    guard let made = fits.firstIndex(where: { $0.verdict == .made }) else { return fits }
    for n in fits.indices.dropFirst(made + 1) where fits[n].verdict == .made && !fits[n].leavesNoise {
      fits[n].verdict = .open
    }
    return fits
  }

  var words: String {
    "the log-probabilities behind \(prompts) prompts are together moved \(fixed(amount, 2)) ± "
      + "\(fixed(standardError, 2)) times as far as \(name) moves them"
  }

  var json: JSON {
    [
      "name": .string(name), "looks_like": id.map(JSON.string) ?? .null, "verdict": .string(verdict.rawValue),
      "amount": number(amount), "standard_error": number(standardError), "prompts": .integer(prompts),
    ]
  }
}

extension Observation {
  /// How far the log-probabilities of tokens that are told are from what is right, and how far a mistake's are.
  fileprivate func moves(to mistaken: [KnownToken]) -> [(told: Double, mistake: Double)] {
    best.compactMap { one in
      let known = golden.filter { one.candidates.contains($0.id) }
      // Tokens that are spelled alike say nothing here.
      guard known.count == 1, let mistake = mistaken.first(where: { $0.id == known[0].id }) else {
        return nil
      }
      // So far away that it does not matter how far.
      let told = min(max(one.logprob, -1e3), 1e3)
      return (told - known[0].logprob, mistake.logprob - known[0].logprob)
    }
  }
}
