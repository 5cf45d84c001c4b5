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

  /// - verdicts: of the cases that were asked; what was not asked for them is not asked.
  init(_ cases: EndpointCases, _ verdicts: [CaseVerdict]) throws {
    let ids = Set(verdicts.map(\.id))
    func isAsked(_ prompt: String, _ kinds: [String]) -> Bool {
      kinds.contains { ids.contains("endpoint/\($0)/\(prompt)") }
    }
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
    if let trouble = can.trouble {
      lines.append("asked for log-probabilities, the server fails: \(trouble)")
    }
    let pooled =
      endpoint.declared.hasKnownWeights ? try PooledDivergence(cases) { isAsked($0, ["logprobs"]) } : nil
    add("log_probabilities", pooled?.json ?? .null)
    if let pooled { lines.append(pooled.line) }
    let own = can.best > 0 && ids.contains("endpoint/keeps/repeated") ? cases.ownNoise() : nil
    add("repeats", own.map { ["mean_kl": .number($0 * $0 / 2)] } ?? .null)

    // Of what broke, or was not refused, nobody is suspected.
    let hasFailures = verdicts.contains {
      $0.stage == .endpoint && $0.verdict == .failed && !$0.id.hasPrefix("endpoint/errors/")
    }
    let observations =
      hasFailures ? try Self.observations(cases) { isAsked($0, ["tokens", "logprobs"]) } : []
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

  // MARK: - Suspects

  private static func observations(
    _ cases: EndpointCases, of isChosen: (String) -> Bool
  ) throws -> [Suspects.Observation] {
    let suite = cases.suite
    return try suite.cases.filter { $0.id.hasPrefix("endpoint/tokens/") }.compactMap { question in
      guard let prompt = suite.prompt(of: question), isChosen(prompt), cases.isAsked(prompt),
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
      EndpointCases(asking: asking, endpoint: self, suite: suite), verdicts)
  }
}
