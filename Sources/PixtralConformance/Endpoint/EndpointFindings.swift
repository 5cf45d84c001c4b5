import Glibc
import PixtralReference
import PixtralStorage
import PixtralText

/// What all answers of a server together show.
package struct EndpointFindings: Sendable {
  package let json: JSON
  /// The same for people, a sentence a line.
  package let lines: [String]
  /// Of a prompt that is answered wrongly, the mistake of Faults.md that the likeliest suspect is.
  let named: [String: String]

  /// - hasFailures: whether a case failed that is not one of refusals; else nobody is suspected.
  init(_ cases: EndpointCases, hasFailures: Bool) throws {
    let (endpoint, server) = (cases.endpoint, cases.endpoint.server)
    var (members, lines): ([JSON.Member], [String]) = ([], [])
    func add(_ key: String, _ value: JSON) { members.append(.init(key: key, value: value)) }
    let can = server.capabilities
    add("model", .string(server.model))
    add("weights", .string(endpoint.declared.hasKnownWeights ? "seeded:small" : "unknown"))
    add("images", .string(endpoint.declared.images.rawValue))
    add(
      "capabilities",
      [
        "tokens": can.tokens.map { .string($0.rawValue) } ?? .null, "counts": .bool(can.counts),
        "top_logprobs": .integer(can.best), "scaled_by_temperature": can.scaled.map(JSON.bool) ?? .null,
        "prompt_logprobs": .bool(can.prompt), "continue_final_message": .bool(can.continues),
      ])
    let ways = [
      can.tokens.map { "tokens by \($0 == .tokenize ? "/tokenize" : "return_token_ids")" }
        ?? (can.counts ? "tokens by their number alone" : "no tokens"),
      can.best > 0
        ? "the \(can.best) likeliest tokens of a place"
          + (can.scaled == true ? ", scaled by the temperature" : "") : "no log-probabilities",
    ]
    lines.append("the server tells \(ways.joined(separator: ", "))")
    if let trouble = can.trouble { lines.append(trouble) }
    let pooled = endpoint.declared.hasKnownWeights ? try Self.pooled(cases) : nil
    add("log_probabilities", pooled?.json ?? .null)
    if let pooled { lines.append(pooled.line) }
    let own = can.best > 0 ? cases.ownNoise() : nil
    add("repeats", own.map { ["mean_kl": .number($0 * $0 / 2)] } ?? .null)

    let observations = hasFailures ? try Self.observations(cases) : []
    let suspects = observations.isEmpty ? [] : Suspects(observations, known: cases.suite.suspects).ranked
    let best = suspects.first?.likelihood ?? 0
    add(
      "suspects",
      .array(
        suspects.prefix(8).map { one in
          [
            "name": .string(one.name), "looks_like": one.id.map(JSON.string) ?? .null,
            "log_likelihood": .number(one.likelihood), "behind": .number(best - one.likelihood),
          ]
        }))
    for (n, one) in suspects.prefix(3).enumerated() {
      let behind = n == 0 ? "" : " (e^-\(Int((best - one.likelihood).rounded())) times as likely)"
      let advice = one.name == Self.otherRule ? "; if that is on purpose, give --images huggingface" : ""
      lines.append("\(n == 0 ? "suspected:" : "or, less:") \(one.name)\(behind)\(advice)")
    }
    var named: [String: String] = [:]
    if let first = suspects.first, let id = first.id {
      for prompt in first.explained { named[prompt] = id }
    }
    (json, self.lines, self.named) = (.object(members), lines, named)
  }

  /// The suspect that is no mistake where it is meant.
  private static let otherRule = "images by transformers' rule"

  /// Of a case of stage `endpoint` that failed, the mistake that the likeliest suspect is; nil for other stages.
  func names(of verdict: CaseVerdict) -> [String]? {
    guard verdict.stage == .endpoint else { return nil }
    let parts = verdict.id.split(separator: "/")
    guard verdict.verdict == .failed, ["tokens", "logprobs"].contains(parts[1]),
      let id = named[String(parts[2])]
    else { return [] }
    return [id]
  }

  // MARK: - Log-probabilities

  /// The mean divergence of all prompts, with its interval, beside that of right runs.
  ///
  /// A prompt that is surely wrong by itself makes the whole wrong; what could be seen is said of the others.
  private static func pooled(_ cases: EndpointCases) throws -> (json: JSON, line: String)? {
    let arithmetic = cases.endpoint.description.arithmetic
    var (means, noises, masses, places) = ([Double](), [Double](), [Double](), 0)
    var near = [Double]()
    for prompt in cases.suite.prompts {
      guard let (told, golden) = try cases.toldAndKnown(prompt), let noise = golden.noise[arithmetic] else {
        continue
      }
      let found = cases.divergences(told, golden)
      let kl = mean(found.behind)
      means.append(kl)
      noises.append(noise)
      if kl <= EndpointCases.far * noise { near.append(kl) }
      places += found.behind.count + found.own.count
      masses.append(Divergence(told.positions[0].best, from: golden.positions[0])?.mass ?? 1)
    }
    guard means.count > 1 else { return nil }
    let interval = MeanInterval(means)
    let noise = mean(noises)
    let (limit, far) = (EndpointCases.near * noise, EndpointCases.far * noise)
    let (low, high) = (max(0, interval.mean - (interval.half ?? 0)), interval.mean + (interval.half ?? 0))
    let failed = means.count - near.count
    let verdict = failed > 0 || low > far ? "failed" : high <= limit ? "passed" : "undecided"
    // A deviation x of every log-probability adds x²/2 of what is told to the divergence; with 80% a mean that is
    // 0.84 standard errors above the limit is seen above it.
    let power =
      near.count > 1
      ? (2 * (far + 0.8416 * MeanInterval(near).error) / max(mean(masses), 1e-6)).squareRoot() : nil
    let line =
      "log-probabilities: \(verdict)\(failed > 0 ? " at \(failed) of \(means.count) prompts" : ""); "
      + "mean KL \(scientific(interval.mean)) nats (95%: \(scientific(low)) to \(scientific(high))) at "
      + "\(places) places of \(means.count) prompts; right runs have \(scientific(noise))"
      + (power.map {
        "; \(failed > 0 ? "of the others " : "")a deviation of \(scientific($0)) would have been seen with 80%"
      } ?? "")
    return (
      [
        "verdict": .string(verdict), "mean_kl": .number(interval.mean),
        "interval": .array([.number(low), .number(high)]), "confidence": .number(0.95),
        "prompts": .integer(means.count), "failed_prompts": .integer(failed), "places": .integer(places),
        "noise": .number(noise), "near": .number(limit), "far": .number(far),
        "power": power.map { ["deviation": .number($0), "probability": .number(0.8)] } ?? .null,
      ], line
    )
  }

  // MARK: - Suspects

  private static func observations(_ cases: EndpointCases) throws -> [Suspects.Observation] {
    let suite = cases.suite
    return try suite.cases.filter { $0.id.hasPrefix("endpoint/tokens/") }.compactMap { question in
      guard let prompt = suite.prompt(of: question), cases.isAsked(prompt),
        case .told(let told) = cases.outcome(prompt)
      else { return nil }
      var tokens: [Int]?
      if case .told(let list) = cases.endpoint.tokens(of: prompt, told) { tokens = list }
      let right = suite.tokens(prompt) ?? []
      // Of other weights nothing is known but tokens.
      let isKnown = suite.positions(prompt) != nil && cases.endpoint.declared.hasKnownWeights
      let golden = isKnown ? try suite.golden(prompt) : nil
      let noise = golden?.noise[cases.endpoint.description.arithmetic] ?? 0
      let mass = golden?.positions[0].prefix(20).reduce(0) { $0 + exp($1.logprob) } ?? 1
      return Suspects.Observation(
        prompt: prompt, count: tokens?.count ?? told.count, hash: tokens.map(hash), rightCount: right.count,
        rightHash: hash(right), best: golden == nil ? [] : told.positions.first?.best ?? [],
        floor: told.positions.first?.floor,
        golden: golden?.positions[0] ?? [], noise: max(2 * noise / mass, 1e-14))
    }
  }

  private static func hash(_ tokens: [Int]) -> String { FaultAnswers.hash(of: FaultAnswers.written(tokens)) }
}

extension Endpoint {
  /// What its answers show together; nil where only tokens are asked.
  package func findings(_ verdicts: [CaseVerdict], tokenizer: Tokenizer) throws -> EndpointFindings? {
    guard let suite, verdicts.contains(where: { $0.stage == .endpoint }) else { return nil }
    // For what names tokens; nothing is asked of a checkpoint.
    let asking = Asking(
      self, tokenizer: tokenizer, faults: FaultAnswers(),
      checkpoints: CheckpointFolders(in: "", tokenizerFile: ""))
    return try EndpointFindings(
      EndpointCases(asking: asking, endpoint: self, suite: suite),
      hasFailures: verdicts.contains { $0.verdict.isFailure && !$0.id.hasPrefix("endpoint/errors/") })
  }
}
