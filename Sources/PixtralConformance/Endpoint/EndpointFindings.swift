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
  /// The mistake that all log-probabilities together show.
  private let made: String?

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
    if server.isRefusingKeys { lines.append("it wants a key: give --key") }
    if let trouble = can.trouble {
      lines.append("asked for log-probabilities, the server fails: \(trouble)")
    }
    let pooled =
      endpoint.declared.hasKnownWeights ? try PooledDivergence(cases) { isAsked($0, ["logprobs"]) } : nil
    add("log_probabilities", pooled?.json ?? .null)
    if let pooled { lines.append(pooled.line) }
    let mistakes = ids.contains(EndpointCases.mistakesID) ? try cases.mistakeFits() : []
    add("mistakes", .array(mistakes.map(\.json)))
    lines += Self.lines(mistakes)
    made = mistakes.first { $0.verdict == .made }?.id
    let own = can.best > 0 && ids.contains("endpoint/keeps/repeated") ? cases.ownNoise() : nil
    add("repeats", own.map { ["mean_kl": .number($0 * $0 / 2)] } ?? .null)

    // Of what broke, or was not refused, nobody is suspected.
    let hasFailures = verdicts.contains {
      $0.stage == .endpoint && $0.verdict == .failed && !$0.id.hasPrefix("endpoint/errors/")
    }
    let observations =
      hasFailures ? try cases.observations { isAsked($0, ["tokens", "logprobs"]) } : []
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

  /// What is said of the known mistakes: forms of one are one, and ruled out if all are.
  private static func lines(_ fits: [MistakeFit]) -> [String] {
    func verdict(_ mistake: String) -> MistakeFit.Verdict {
      let forms = fits.filter { $0.mistake == mistake }.map(\.verdict)
      return forms.contains(.made) ? .made : forms.allSatisfy { $0 == .absent } ? .absent : .open
    }
    var seen: Set<String> = []
    let mistakes = fits.map(\.mistake).filter { seen.insert($0).inserted }
    if mistakes.isEmpty { return [] }
    func names(_ one: MistakeFit.Verdict) -> String {
      mistakes.filter { verdict($0) == one }.joined(separator: ", ")
    }
    let (made, open, absent) = (names(.made), names(.open), mistakes.count { verdict($0) == .absent })
    let others = made.isEmpty && absent > 0 && !open.isEmpty ? "; nobody can say of \(open)" : ""
    let line =
      "known mistakes: \(made.isEmpty ? "none" : made) of \(mistakes.count) is made, \(absent) are ruled out\(others)"
    return [line] + (fits.first { $0.verdict == .made }.map { [$0.words] } ?? [])
  }

  /// Of a case of stage `endpoint` that failed, the mistake that the likeliest suspect is; nil for other stages.
  func names(of verdict: CaseVerdict) -> [String]? {
    guard verdict.stage == .endpoint else { return nil }
    if verdict.id == EndpointCases.mistakesID {
      return verdict.verdict == .failed ? made.map { [$0] } ?? [] : []
    }
    let parts = verdict.id.split(separator: "/")
    guard verdict.verdict == .failed, ["tokens", "logprobs"].contains(parts[1]),
      let id = named[String(parts[2])]
    else { return [] }
    return [id]
  }
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
