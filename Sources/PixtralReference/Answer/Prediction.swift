import Glibc
import PixtralStorage

/// What the model says of the token that comes next: its logits, as probabilities. Answer.md 2.
///
/// Everything is computed in float64, whatever the precision of the run was.
public struct Prediction: Sendable {
  /// vocab_size logits, as the output head gives them: before any temperature.
  public let logits: [Double]
  private let largest: Double
  /// `Σ exp(logit − largest)`, in the order of the ids.
  private let sum: Double

  /// - logits: finite ones, at least one.
  package init(_ logits: [Double]) {
    let largest = logits.max()!
    (self.logits, self.largest) = (logits, largest)
    sum = logits.reduce(0) { $0 + exp($1 - largest) }
  }

  /// - Parameters:
  ///   - logits: vocab_size of them.
  ///   - position: of the token that comes next, counted from 0; for the error.
  /// - Throws: `InputError` of kind `wrongTensors` if one of them is not finite.
  init<Scalar: BLASScalar>(_ logits: some Collection<Scalar>, position: Int) throws {
    let logits = logits.map(Double.init)
    if let id = logits.firstIndex(where: { !$0.isFinite }) {
      throw InputError(
        .wrongTensors, "logits for position \(position)", expected: "finite numbers",
        found: "\(numberText(logits[id])) for token \(id)",
        advice: "pixtral-ref trace names the first tap that is not finite")
    }
    self.init(logits)
  }

  /// The natural logarithm of a token's probability.
  public func logProbability(of id: Int) -> Double { logits[id] - (largest + log(sum)) }

  /// A token's probability.
  package func probability(of id: Int) -> Double { exp(logits[id] - largest) / sum }

  /// Which place a token has among all, the most likely first, from 1; of equal ones the lowest id comes first.
  func rank(of id: Int) -> Int {
    var rank = 1
    for (other, logit) in logits.enumerated()
    where logit > logits[id] || (logit == logits[id] && other < id) { rank += 1 }
    return rank
  }

  /// The ids with the largest logits, the largest first; of equal ones the lowest id first.
  public func best(_ count: Int) -> [Int] {
    if count == 0 { return [] }
    var best: [Int] = []
    for id in logits.indices where best.count < count || logits[id] > logits[best[count - 1]] {
      if best.count == count { best.removeLast() }
      // Behind all that are as likely, whose ids are lower.
      let place = best.lastIndex { logits[$0] >= logits[id] }.map { $0 + 1 } ?? 0
      best.insert(id, at: place)
    }
    return best
  }

  /// All ids in this order.
  var order: [Int] { logits.indices.sorted { (logits[$0], $1) > (logits[$1], $0) } }
}
