import PixtralReference
import PixtralStorage

/// How far the log-probabilities of all prompts together are from what is right: the mean divergence with its interval,
/// beside that of right runs.
///
/// Prompts are noisy in their own ways, and so it is divergences in units of each prompt's noise that are judged. A
/// prompt that is surely wrong by itself makes the whole wrong; what could be seen is said of the others.
struct PooledDivergence {
  let json: JSON
  let line: String

  /// - isChosen: which prompts.
  /// - Returns: nil if fewer than two of them have log-probabilities.
  init?(_ cases: EndpointCases, of isChosen: (String) -> Bool) throws {
    let arithmetic = cases.endpoint.description.arithmetic
    let (near, far) = (EndpointCases.near, EndpointCases.far)
    // Of each prompt: nats, nats per noise, the noise, and what of the distribution is told per noise.
    var prompts: [(kl: Double, times: Double, noise: Double, mass: Double)] = []
    var (places, unanswered) = (0, 0)
    // Arithmetics of more noise, of which every prompt is what right runs tell.
    var wider = Array(Arithmetic.allCases.drop { $0 != arithmetic }.dropFirst())
    for prompt in cases.suite.prompts where isChosen(prompt) && cases.isAsked(prompt) {
      guard let (told, golden) = try cases.toldAndKnown(prompt) else {
        unanswered += 1
        continue
      }
      guard let noise = golden.noise[arithmetic] else { continue }
      let found = cases.divergences(told, golden)
      let mass = Divergence(told.positions[0].best, from: golden.positions[0])?.mass ?? 1
      let times = found.isCutOff ? .infinity : found.kl / noise
      prompts.append((found.kl, times, noise, mass / noise))
      wider.removeAll { found.isCutOff || cases.verdict(found.kl, noise: golden.noise[$0] ?? 0) != .passed }
      places += found.behind.count + found.own.count
    }
    guard prompts.count > 1 else { return nil }
    let (nats, times) = (MeanInterval(prompts.map(\.kl)), MeanInterval(prompts.map(\.times)))
    let others = prompts.filter { $0.times <= far }
    let failed = prompts.count - others.count
    let verdict =
      failed > 0 || times.low > far
      ? "failed" : times.high <= near && unanswered == 0 ? "passed" : "undecided"
    // A deviation x of every log-probability adds x²/2 of what is told to a divergence; with 80% a mean that is 0.84
    // standard errors above the limit is seen above it.
    let seen = far + 0.8416 * (others.count > 1 ? MeanInterval(others.map(\.times)).error : 0)
    let power = others.count > 1 ? (2 * seen / mean(others.map(\.mass))).squareRoot() : nil
    let noise = mean(prompts.map(\.noise))
    var words = [
      "log-probabilities: \(verdict)" + (failed > 0 ? " at \(failed) of \(prompts.count) prompts" : ""),
      "mean KL \(scientific(nats.mean)) nats (95%: \(scientific(nats.low)) to \(scientific(nats.high))) at "
        + "\(places) places of \(prompts.count) prompts",
      "right runs have \(scientific(noise))",
    ]
    if unanswered > 0 { words.append("\(unanswered) more prompts have none") }
    if let power {
      let whom = failed > 0 ? "of the others " : ""
      words.append("\(whom)a deviation of \(scientific(power)) would have been seen with 80%")
    }
    let fitting = verdict == "failed" ? wider.first?.rawValue : nil
    if let fitting {
      words.append(
        "right runs in \(fitting) are as far off: if it computes in that, give --arithmetic \(fitting)")
    }
    line = words.joined(separator: "; ")
    json = [
      "verdict": .string(verdict), "mean_kl": number(nats.mean),
      "interval": .array([number(nats.low), number(nats.high)]), "confidence": .number(0.95),
      "times_noise": number(times.mean), "times_interval": .array([number(times.low), number(times.high)]),
      "near": .number(near), "far": .number(far), "prompts": .integer(prompts.count),
      "failed_prompts": .integer(failed), "unanswered_prompts": .integer(unanswered),
      "fits_arithmetic": fitting.map(JSON.string) ?? .null,
      "places": .integer(places), "noise": .number(noise),
      "power": power.map { ["deviation": number($0), "probability": .number(0.8)] } ?? .null,
    ]
  }
}
