import PixtralReference
import PixtralStorage

/// Whether a report that somebody sent is what it claims: a sentence for each claim that does not hold.
///
/// It tells that nothing was changed or lost since the run, and that the run was of this suite. That the runtime
/// really answered so only a run of one's own shows.
package struct ReportCheck {
  /// Sentences, a line each, whatever the report has in it.
  package private(set) var problems: [String] = []
  /// How many cases the report has, and how many the suite.
  package let count: (report: Int, suite: Int)
  /// Whether it says that it passed, and how many failures it says were known.
  package private(set) var passed = false
  package private(set) var knownFailures = 0

  /// Values of a report of every case, with room to spare.
  package static let mostValues = 1 << 20

  package init(_ report: JSON, _ manifest: Manifest, cases: [ConformanceCase]) {
    guard case .array(let verdicts)? = report["cases"] else {
      count = (0, cases.count)
      problems = ["It has no list of cases."]
      return
    }
    count = (verdicts.count, cases.count)
    checkRun(report, manifest)
    if report["sha256"] != .string(Report.hash(of: report)) {
      problems.append("Its sha256 is not that of its contents: it was changed after the run.")
    }
    guard verdicts.count <= cases.count else {
      problems.append("It has \(verdicts.count) cases, and the suite \(cases.count).")
      return
    }
    let byId = Dictionary(cases.enumerated().map { ($1.id, ($0, $1)) }) { first, _ in first }
    var (seen, last) = (Set<String>(), -1)
    for verdict in verdicts {
      let id = verdict["id"]?.plainText ?? ""
      if !seen.insert(id).inserted { problems.append("It has \(Self.shown(id)) twice.") }
      guard let (place, question) = byId[id] else {
        problems.append("It has \(Self.shown(id)), which is no case of this suite.")
        continue
      }
      if place < last { problems.append("\(id) is not in the order of the suite.") }
      last = place
      if verdict["stage"] != .string(question.stage.rawValue) {
        problems.append("\(id) is of another stage than the suite's, \(question.stage.rawValue).")
      }
      check(verdict, id)
    }
    checkSums(report, verdicts, byId.mapValues(\.1))
  }

  private static func shown(_ text: String) -> String { text.isEmpty ? "''" : onOneLine(shortened(text)) }

  private static func shown(_ json: JSON?) -> String { json.map { shown($0.plainText) } ?? "nothing" }

  private static func verdict(_ json: JSON) -> CaseVerdict.Verdict? {
    if case .string(let text)? = json["verdict"] { CaseVerdict.Verdict(rawValue: text) } else { nil }
  }

  private mutating func checkRun(_ report: JSON, _ manifest: Manifest) {
    let runtime = report["runtime"]
    for key in ["name", "version"] {
      if case .string? = runtime?[key] { continue }
      problems.append("It does not say the runtime's \(key).")
    }
    if Arithmetic(rawValue: runtime?["arithmetic"]?.plainText ?? "") == nil {
      problems.append("The runtime's arithmetic is \(Self.shown(runtime?["arithmetic"])), which is none.")
    }
    let suite = report["suite"]
    if suite?["version"] != .string(manifest.version) {
      problems.append(
        "It is of version \(Self.shown(suite?["version"])) of the suite; this is \(manifest.version).")
    } else if suite?["sha256"] != .string(manifest.sha256) {
      problems.append("It is of another suite of version \(manifest.version): its SHA-256 is another.")
    }
  }

  /// What a verdict says beside its name.
  private mutating func check(_ json: JSON, _ id: String) {
    guard let verdict = Self.verdict(json) else {
      problems.append("\(id) has no verdict.")
      return
    }
    if let looksLike = json["looks_like"], looksLike != .null, verdict != .failed {
      problems.append("\(id) is \(verdict.rawValue), and looks like \(Self.shown(looksLike)).")
    }
    if verdict == .passed, let distance = json["distance"]?.decimal, let limit = json["limit"]?.decimal,
      distance > limit
    {
      problems.append("\(id) has passed at \(distance), and the limit is \(limit).")
    }
  }

  private mutating func checkSums(_ report: JSON, _ verdicts: [JSON], _ cases: [String: ConformanceCase]) {
    var counts: [JSON.Member] = []
    if case .object(let members)? = report["counts"] { counts = members }
    for verdict in CaseVerdict.Verdict.allCases {
      let found = verdicts.count { $0["verdict"] == .string(verdict.rawValue) }
      let claimed = report["counts"]?[verdict.rawValue]
      if claimed != .integer(found) {
        problems.append("It counts \(Self.shown(claimed)) \(verdict.rawValue), and has \(found).")
      }
    }
    for member in counts where CaseVerdict.Verdict(rawValue: member.key) == nil {
      problems.append("It counts \(Self.shown(member.key)), which is no verdict.")
    }
    var known: Set<String> = []
    if case .array(let ids)? = report["known"] {
      for json in ids {
        guard case .string(let id) = json, cases[id] != nil else {
          problems.append("It says that \(Self.shown(json)) is known, which is no case of this suite.")
          continue
        }
        known.insert(id)
      }
    } else {
      problems.append("It has no list of what is known to fail.")
    }
    let failed = verdicts.filter { Self.verdict($0)?.isFailure ?? true }
    let failures = failed.filter { !known.contains($0["id"]?.plainText ?? "") }
    knownFailures = failed.count - failures.count
    let surprises = verdicts.filter {
      Self.verdict($0) == .passed && known.contains($0["id"]?.plainText ?? "")
    }
    let isAsked = verdicts.contains { Self.verdict($0) != .unsupported }
    passed = failures.isEmpty && surprises.isEmpty && isAsked
    if report["passed"] != .bool(passed) {
      problems.append("It says that passed is \(Self.shown(report["passed"])); by its cases it is \(passed).")
    }
    checkFirst(report["first_divergence"], failures.first)
    checkNames(report["looks_like"], failures)
  }

  private mutating func checkFirst(_ claimed: JSON?, _ first: JSON?) {
    if first?["id"] != claimed?["case"] {
      problems.append(
        "Its first divergence is \(Self.shown(claimed?["case"])); by its cases it is \(Self.shown(first?["id"]))."
      )
      return
    }
    for key in ["stage", "tap", "looks_like"] where first?[key] != claimed?[key] {
      problems.append(
        "The \(key) of its first divergence is \(Self.shown(claimed?[key])); by its cases it is \(Self.shown(first?[key]))."
      )
    }
  }

  /// Every name, and how many failures bear it.
  private mutating func checkNames(_ claimed: JSON?, _ failures: [JSON]) {
    func counts(_ list: [JSON], _ value: (JSON) -> Int?) -> [String: Int] {
      list.reduce(into: [:]) { counts, json in
        if case .string(let names)? = json["looks_like"] { counts[names, default: 0] += value(json) ?? -1 }
      }
    }
    let found = counts(failures) { _ in 1 }
    guard case .array(let list)? = claimed, list.count == found.count,
      counts(list, { if case .integer(let count)? = $0["cases"] { count } else { nil } }) == found
    else {
      problems.append("Its list looks_like is not that of its cases.")
      return
    }
  }
}
