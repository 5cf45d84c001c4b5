import Glibc

/// How far what a server tells of a position is from a distribution that is known.
struct Divergence {
  /// KL(known ‖ told), in nats, of the tokens that are told and of all others together: no more than the divergence
  /// of the whole distributions. Each term is at least 0, so that nothing is lost where all is nearly equal.
  let kl: Double
  /// The probability, by what is known, of the tokens that are told.
  let mass: Double
  /// The mean square of the differences of their log-probabilities, of the tokens that are known or likelier than
  /// the known ones; infinite if there are none.
  let meanSquare: Double

  /// - told: the likeliest tokens, by the server.
  /// - known: the likeliest tokens by what is known, from the first on.
  /// - floor: what every token is less likely than, by the server, that it does not tell.
  /// - Returns: nil if nothing is told.
  init?(_ told: [Told.Likely], floor: Double? = nil, from known: [KnownToken]) {
    guard !told.isEmpty, let least = known.last?.logprob else { return nil }
    var free = known
    var (kl, p, q, squares, compared) = (0.0, 0.0, 0.0, 0.0, 0)
    func add(_ known: Double, _ told: Double, isCompared: Bool) {
      let (known, told, step) = (exp(known), exp(told), told - known)
      kl += Self.term(known, told, step)
      p += known
      q += told
      squares += step * step
      if isCompared { compared += 1 }
    }
    for one in told {
      // Of several tokens that are spelled alike, the one that fits best.
      let at = free.indices.filter { one.candidates.contains(free[$0].id) }
        .min { abs(free[$0].logprob - one.logprob) < abs(free[$1].logprob - one.logprob) }
      // Of a token that is not among those known it is known that it is less likely than they.
      let logprob = at.map { free.remove(at: $0).logprob } ?? min(least, one.logprob)
      add(logprob, one.logprob, isCompared: at != nil || one.logprob > least)
    }
    mass = p
    // Likely tokens that are not told are at most as likely as the least that is.
    if let floor {
      for token in free where token.logprob > floor { add(token.logprob, floor, isCompared: true) }
    }
    let others = (known: max(1 - p, 0), told: 1 - q)
    if others.known > 0, others.told > 0 {
      kl += Self.term(others.known, others.told, log(others.told / others.known))
    }
    self.kl = kl
    meanSquare = compared > 0 ? squares / Double(compared) : .infinity
  }

  /// What a probability p adds in whose place q is told: p · (e^step − 1 − step).
  ///
  /// - step: the logarithm of q/p.
  private static func term(_ p: Double, _ q: Double, _ step: Double) -> Double {
    // Where p is no number of a double but 0, the second factor may be infinite.
    p > 0 ? p * (expm1(step) - step) : q
  }

  /// Of one token and all others together.
  static func ofOne(told: Double, known: Double) -> Double {
    let others = (known: -expm1(known), told: -expm1(told))
    let own = term(exp(known), exp(told), told - known)
    guard others.known > 0, others.told > 0 else { return own }
    return own + term(others.known, others.told, log(others.told / others.known))
  }
}

/// A token and its log-probability.
struct KnownToken: Equatable {
  let id: Int
  let logprob: Double
}

/// - values: at least one.
func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

/// The mean of values, and where it lies with 95%, by Student's t.
struct MeanInterval {
  let mean: Double
  /// Half the width of the interval; nil for fewer than two values.
  let half: Double?
  /// The standard error of the mean.
  let error: Double

  /// - values: at least one.
  init(_ values: [Double]) {
    let count = Double(values.count)
    let mean = PixtralConformance.mean(values)
    self.mean = mean
    guard values.count > 1 else {
      (half, error) = (nil, 0)
      return
    }
    let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (count - 1)
    error = (variance / count).squareRoot()
    half = Self.t(count - 1) * error
  }

  /// The ends of the interval, of what is never negative.
  var low: Double { max(0, mean - (half ?? 0)) }
  var high: Double { mean.isFinite ? mean + (half ?? 0) : .infinity }

  /// The 97.5th percentile of Student's t, by the first terms of its expansion about the normal one.
  private static func t(_ freedom: Double) -> Double {
    let z = 1.959964
    let z3 = z * z * z
    let (first, second) = ((z3 + z) / 4, (5 * z3 * z * z + 16 * z3 + 3 * z) / 96)
    let third = (3 * z3 * z3 * z + 19 * z3 * z * z + 17 * z3 - 15 * z) / 384
    return z + first / freedom + second / (freedom * freedom) + third / (freedom * freedom * freedom)
  }
}
