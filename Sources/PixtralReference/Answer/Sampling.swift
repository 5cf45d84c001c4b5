import Glibc

/// How the next token is chosen. Answer.md 3.
public struct Sampling: Sendable, Equatable {
  /// Logits are divided by it; 0 takes the most likely token.
  public var temperature: Double
  /// The probability that the tokens to choose from come to, the most likely first.
  public var topP: Double
  /// The state that the generator of random numbers begins with.
  public var seed: UInt64

  /// - Parameters:
  ///   - temperature: 0 or more; 0 takes the most likely token.
  ///   - topP: from 0 to 1.
  ///   - seed: the same seed gives the same answer.
  public init(temperature: Double = 0, topP: Double = 1, seed: UInt64 = 0) {
    precondition(temperature >= 0 && (0...1).contains(topP), "a temperature from 0, a share from 0 to 1")
    (self.temperature, self.topP, self.seed) = (temperature, topP, seed)
  }
}

/// Chooses token after token.
struct Sampler {
  private let sampling: Sampling
  private var random: SplitMix64

  init(_ sampling: Sampling) {
    self.sampling = sampling
    random = SplitMix64(state: sampling.seed)
  }

  /// The id of the next token.
  mutating func choose(_ prediction: Prediction) -> Int {
    if sampling.temperature == 0 { return prediction.best(1).first! }
    let order = prediction.order
    let largest = prediction.logits[order[0]]
    let weights = order.map { exp((prediction.logits[$0] - largest) / sampling.temperature) }
    let share = sampling.topP * weights.reduce(0, +)
    let kept = weights.prefix(count(weights) { $0 >= share })
    let drawn = random.nextUnit() * kept.reduce(0, +)
    return order[count(kept) { $0 > drawn } - 1]
  }

  /// How many of the first weights it takes until their sum is enough; at least one, and all at most.
  private func count(_ weights: some Collection<Double>, until isEnough: (Double) -> Bool) -> Int {
    var sum = 0.0
    for (n, weight) in weights.enumerated() {
      sum += weight
      if isEnough(sum) { return n + 1 }
    }
    return weights.count
  }
}

/// The generator SplitMix64, which is a few lines in any language. Answer.md 3.5.
struct SplitMix64 {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }

  /// From 0 to below 1, a multiple of 2⁻⁵³.
  mutating func nextUnit() -> Double { Double(next() >> 11) * 0x1p-53 }
}
