import PixtralReference
import PixtralStorage

/// The verdicts of a run, as programs and people read them.
package struct Report: Sendable {
  package let runtime: RuntimeDescription
  package let verdicts: [CaseVerdict]
  /// Cases that are known to fail, with the reason.
  package let known: [String: String]
  /// Version and SHA-256 of the suite; nil where it has no manifest.
  package let suite: Manifest?
  /// What the answers of an endpoint show together.
  package let findings: EndpointFindings?

  package init(
    _ runtime: RuntimeDescription, _ verdicts: [CaseVerdict], known: [String: String], suite: Manifest? = nil,
    findings: EndpointFindings? = nil
  ) {
    let naming = Naming(verdicts)
    self.verdicts = verdicts.map { verdict in
      var named = verdict
      named.looksLike = findings?.names(of: verdict) ?? naming.names(of: verdict)
      return named
    }
    (self.runtime, self.known, self.suite, self.findings) = (runtime, known, suite, findings)
  }

  /// Failures that nobody has announced.
  package var failures: [CaseVerdict] { verdicts.filter(isUnannouncedFailure) }
  /// Cases that were to fail and passed.
  package var unexpectedPasses: [CaseVerdict] {
    verdicts.filter(isUnexpectedPass)
  }
  /// A run of which nothing passed or was decided shows nothing.
  package var isEmpty: Bool { !verdicts.contains { $0.verdict != .unsupported } }
  package var passed: Bool { failures.isEmpty && unexpectedPasses.isEmpty && !isEmpty }

  private func isUnannouncedFailure(_ verdict: CaseVerdict) -> Bool {
    verdict.verdict.isFailure && known[verdict.id] == nil
  }

  private func isUnexpectedPass(_ verdict: CaseVerdict) -> Bool {
    verdict.verdict == .passed && known[verdict.id] != nil
  }

  package func count(_ verdict: CaseVerdict.Verdict, of stage: Stage? = nil) -> Int {
    verdicts.count { $0.verdict == verdict && (stage == nil || $0.stage == stage) }
  }

  /// The first failure of the first stage that fails: what is wrong there makes wrong what comes behind.
  package var firstDivergence: CaseVerdict? { failures.first }

  /// Every mistake that a failure looks like, and how many do.
  package var named: [(names: String, count: Int)] {
    let names = failures.filter { !$0.looksLike.isEmpty }.map { $0.looksLike.joined(separator: ", ") }
    return Dictionary(grouping: names) { $0 }.map { ($0.key, $0.value.count) }.sorted {
      ($1.1, $0.0) < ($0.1, $1.0)
    }
  }

  package var json: JSON {
    let contents = contents
    guard case .object(let members) = contents else { preconditionFailure("an object") }
    return .object(members + [.init(key: "sha256", value: .string(Self.hash(of: contents)))])
  }

  /// SHA-256 of a report's text without this very member.
  static func hash(of report: JSON) -> String {
    guard case .object(let members) = report else { return "" }
    let hash = SHA256()
    hash.update(Array(JSON.object(members.filter { $0.key != "sha256" }).text().utf8))
    return hash.hexDigest()
  }

  private var contents: JSON {
    let counts = CaseVerdict.Verdict.allCases.map {
      JSON.Member(key: $0.rawValue, value: .integer(count($0)))
    }
    let members: JSON = [
      "runtime": [
        "name": .string(runtime.name), "version": .string(runtime.version),
        "arithmetic": .string(runtime.arithmetic.rawValue),
      ],
      "suite": suite.map { ["version": .string($0.version), "sha256": .string($0.sha256)] } ?? .null,
      "passed": .bool(passed), "counts": .object(counts),
      "first_divergence": firstDivergence.map { first in
        [
          "case": .string(first.id), "stage": .string(first.stage.rawValue),
          "tap": first.tap.map(JSON.string) ?? .null, "looks_like": looksLike(first),
        ]
      } ?? .null,
      "looks_like": .array(
        named.map { ["looks_like": .string($0.names), "cases": .integer($0.count)] }),
      "known": .array(known.keys.sorted().map(JSON.string)),
      "cases": .array(
        verdicts.map { verdict in
          [
            "id": .string(verdict.id), "stage": .string(verdict.stage.rawValue),
            "verdict": .string(verdict.verdict.rawValue), "tap": verdict.tap.map(JSON.string) ?? .null,
            "distance": number(verdict.distance), "limit": number(verdict.limit),
            "looks_like": looksLike(verdict),
            "detail": verdict.detail.map(JSON.string) ?? .null,
          ]
        }),
    ]
    guard let findings, case .object(let list) = members else { return members }
    return .object(list + [.init(key: "endpoint", value: findings.json)])
  }

  /// JUnit's XML: a suite a stage. What was not asked is skipped, and what nothing decides too.
  package var junit: String {
    var lines = [#"<?xml version="1.0" encoding="UTF-8"?>"#, #"<testsuites name="pixtral-ref conformance">"#]
    for stage in Stage.allCases {
      let cases = verdicts.filter { $0.stage == stage }
      guard !cases.isEmpty else { continue }
      let failed = cases.count { isUnannouncedFailure($0) || isUnexpectedPass($0) }
      lines.append(
        #"  <testsuite name="\#(stage.rawValue)" tests="\#(cases.count)" failures="\#(failed)">"#)
      for verdict in cases {
        let detail = html([verdict.tap, verdict.detail].compactMap(\.self).joined(separator: ": "))
        let inside =
          isUnannouncedFailure(verdict)
          ? #"<failure message="\#(verdict.verdict.rawValue)">\#(detail)</failure>"#
          : isUnexpectedPass(verdict)
            ? #"<failure message="passed, and is known to fail">\#(html(known[verdict.id] ?? ""))</failure>"#
            : verdict.verdict == .passed
              ? "" : #"<skipped message="\#(verdict.verdict.rawValue) \#(detail)"/>"#
        lines.append(
          #"    <testcase classname="\#(stage.rawValue)" name="\#(html(verdict.id))">\#(inside)</testcase>"#
        )
      }
      lines.append("  </testsuite>")
    }
    return (lines + ["</testsuites>", ""]).joined(separator: "\n")
  }
}

/// Two mistakes that explain it equally are both named.
private func looksLike(_ verdict: CaseVerdict) -> JSON {
  verdict.looksLike.isEmpty ? .null : .string(verdict.looksLike.joined(separator: ", "))
}

func number(_ value: Double?) -> JSON {
  guard let value else { return .null }
  return value.isFinite ? .number(value) : .string(numberText(value))
}
