import PixtralReference
import PixtralStorage

/// Whether a report that somebody sent is what it claims: a sentence for each claim that does not hold.
///
/// It tells that nothing was changed or lost since the run, and that the run was of this suite. That the runtime
/// really answered so only a run of one's own shows.
package struct ReportCheck {
  package private(set) var problems: [String] = []
  /// How many cases the report has, and how many the suite.
  package let count: (report: Int, suite: Int)

  package init(_ report: JSON, _ manifest: Manifest, cases: [ConformanceCase]) {
    let byId = Dictionary(cases.map { ($0.id, $0) }) { first, _ in first }
    guard case .array(let verdicts)? = report["cases"] else {
      count = (0, cases.count)
      problems = ["It has no list of cases."]
      return
    }
    count = (verdicts.count, cases.count)
    checkSuite(report, manifest)
    if report["sha256"] != .string(Report.hash(of: report)) {
      problems.append("Its sha256 is not that of its contents: it was changed after the run.")
    }
    var seen: Set<String> = []
    for verdict in verdicts {
      let id = verdict["id"]?.plainText ?? ""
      if !seen.insert(id).inserted { problems.append("It has \(shortened(id)) twice.") }
      guard let question = byId[id] else {
        problems.append("It has \(shortened(id)), which is no case of this suite.")
        continue
      }
      if verdict["stage"] != .string(question.stage.rawValue) {
        problems.append("\(id) is of another stage than the suite's, \(question.stage.rawValue).")
      }
      if CaseVerdict.Verdict(rawValue: verdict["verdict"]?.plainText ?? "") == nil {
        problems.append("\(id) has no verdict.")
      }
    }
    checkSums(report, verdicts)
  }

  private mutating func checkSuite(_ report: JSON, _ manifest: Manifest) {
    let suite = report["suite"]
    if suite?["version"] != .string(manifest.version) {
      problems.append(
        "It is of version \(shortened(suite?["version"]?.plainText ?? "none")) of the suite; this is \(manifest.version)."
      )
    } else if suite?["sha256"] != .string(manifest.sha256) {
      problems.append("It is of another suite of version \(manifest.version): its SHA-256 is another.")
    }
  }

  private mutating func checkSums(_ report: JSON, _ verdicts: [JSON]) {
    for verdict in CaseVerdict.Verdict.allCases {
      let found = verdicts.count { $0["verdict"] == .string(verdict.rawValue) }
      let claimed = report["counts"]?[verdict.rawValue]
      if claimed != .integer(found) {
        problems.append("It counts \(claimed?.text() ?? "no") \(verdict.rawValue), and has \(found).")
      }
    }
    var known: Set<String> = []
    if case .array(let ids)? = report["known"] { known = Set(ids.map(\.plainText)) }
    func verdict(_ json: JSON) -> CaseVerdict.Verdict? {
      CaseVerdict.Verdict(rawValue: json["verdict"]?.plainText ?? "")
    }
    let failures = verdicts.filter {
      (verdict($0)?.isFailure ?? true) && !known.contains($0["id"]?.plainText ?? "")
    }
    let surprises = verdicts.filter {
      verdict($0) == .passed && known.contains($0["id"]?.plainText ?? "")
    }
    let isAsked = verdicts.contains { verdict($0) != .unsupported }
    let passed = failures.isEmpty && surprises.isEmpty && isAsked
    if report["passed"] != .bool(passed) {
      problems.append(
        "It says that passed is \(report["passed"]?.text() ?? "nothing"); by its cases it is \(passed).")
    }
    let first = failures.first?["id"]
    let claimed = report["first_divergence"]?["case"]
    if first != claimed {
      problems.append(
        "Its first divergence is \(claimed?.plainText ?? "none"); by its cases it is \(first?.plainText ?? "none")."
      )
    }
  }
}
