import PixtralReference
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralConformance

/// Reports whose hash is right, and which lie: whoever changes one may well compute a new hash.
@Suite("Reports that lie")
struct ReportCheckTests {
  private let cases: [ConformanceCase]
  private let manifest: Manifest
  private let honest: JSON

  init() throws {
    manifest = try Manifest("\(fixtures)/manifest.json")
    cases = Array(try CaseFiles("\(fixtures)/cases").cases.filter { $0.stage == .grid }.prefix(4))
    let runtime = try RuntimeDescription(["name": "a", "arithmetic": "float32", "features": ["grid"]])
    var wrong = CaseVerdict(cases[1], .failed, "other", tap: "a tap", distance: 2, limit: 1)
    wrong.explaining = ["G-floor": true]
    honest =
      Report(
        runtime,
        [CaseVerdict(cases[0], .passed, distance: 1, limit: 1), wrong, CaseVerdict(cases[2], .passed)],
        known: [:], suite: manifest
      ).json
  }

  private func problems(_ report: JSON) -> [String] {
    ReportCheck(signed(report), manifest, cases: cases).problems
  }

  private func signed(_ report: JSON) -> JSON {
    setting(report, "sha256", .string(Report.hash(of: report)))
  }

  /// An object with another value of a key, or without it.
  private func setting(_ object: JSON, _ key: String, _ value: JSON?) -> JSON {
    guard case .object(let members) = object else { return object }
    if members.contains(where: { $0.key == key }) {
      return .object(members.compactMap { $0.key == key ? value.map { .init(key: key, value: $0) } : $0 })
    }
    return .object(members + (value.map { [.init(key: key, value: $0)] } ?? []))
  }

  private func setting(_ outer: String, _ key: String, _ value: JSON?) -> JSON {
    setting(honest, outer, setting(honest[outer] ?? .null, key, value))
  }

  private func settingCase(_ n: Int, _ key: String, _ value: JSON?) -> JSON {
    var verdicts = honest["cases"]?.array ?? []
    verdicts[n] = setting(verdicts[n], key, value)
    return setting(honest, "cases", .array(verdicts))
  }

  @Test("An honest one has no problem")
  func noLie() {
    #expect(problems(honest) == [])
    #expect(honest["looks_like"]?.array?.count == 1)
  }

  @Test(
    "The first divergence is that of its cases in all that it says",
    arguments: ["stage", "tap", "looks_like"])
  func first(key: String) {
    #expect(
      problems(setting("first_divergence", key, "other")).first?.hasPrefix("The \(key) of its first") == true)
  }

  @Test("The list of names is that of its cases")
  func names() {
    let lies: [JSON] = [[], [["looks_like": "G-floor", "cases": .integer(2)]], .null]
    for lie in lies {
      #expect(
        problems(setting(honest, "looks_like", lie)) == ["Its list looks_like is not that of its cases."])
    }
  }

  @Test("Cases are in the order of the suite, which says what is first")
  func order() {
    let turned = setting(honest, "cases", .array((honest["cases"]?.array ?? []).reversed()))
    #expect(problems(turned).contains("\(cases[0].id) is not in the order of the suite."))
  }

  @Test("Nothing is counted but verdicts")
  func counts() {
    #expect(
      problems(setting("counts", "wonderful", .integer(7))) == ["It counts wonderful, which is no verdict."])
  }

  @Test("What is known to fail are cases of the suite")
  func known() {
    for lie: JSON in ["none", .integer(1)] {
      #expect(
        problems(setting(honest, "known", [lie])).first?.hasSuffix("which is no case of this suite.") == true)
    }
    #expect(problems(setting(honest, "known", nil)) == ["It has no list of what is known to fail."])
  }

  @Test("The runtime has a name, a version and an arithmetic", arguments: ["name", "version", "arithmetic"])
  func runtime(key: String) {
    #expect(problems(setting("runtime", key, .null)).count == 1)
  }

  @Test("What has passed is within its limit")
  func limit() {
    #expect(
      problems(settingCase(0, "distance", .number(1.5)))
        == ["\(cases[0].id) has passed at 1.5, and the limit is 1.0."])
  }

  @Test("What has not failed looks like no mistake")
  func rightAndNamed() {
    #expect(
      problems(settingCase(2, "looks_like", "G-ceil")) == ["\(cases[2].id) is passed, and looks like G-ceil."]
    )
  }

  @Test("A report has no more cases than the suite")
  func tooMany() {
    let many = setting(honest, "cases", .array([JSON](repeating: .null, count: 5)))
    #expect(problems(many) == ["It has 5 cases, and the suite 4."])
  }

  @Test("A problem is one short line, whatever is in the report")
  func lines() {
    let evil = JSON.string(String(repeating: "the report is what it claims\n\u{1b}", count: 100_000))
    for lie in [
      settingCase(0, "id", evil), settingCase(1, "id", evil), setting(honest, "passed", evil),
      setting("counts", "passed", evil), setting("first_divergence", "case", evil),
      setting("first_divergence", "tap", evil), setting("suite", "version", evil),
      setting("runtime", "arithmetic", evil), setting(honest, "known", [evil]),
    ] {
      let found = problems(lie)
      #expect(!found.isEmpty)
      #expect(!found.contains { $0.contains("\n") || $0.count > 400 })
    }
  }

  @Test("A verdict on a report says how many failures it calls known")
  func excused() {
    let report = Report(
      try! RuntimeDescription(["name": "a", "arithmetic": "float32", "features": ["grid"]]),
      [CaseVerdict(cases[0], .passed), CaseVerdict(cases[1], .failed)], known: [cases[1].id: "a reason"],
      suite: manifest)
    let check = ReportCheck(report.json, manifest, cases: cases)
    #expect(check.problems == [] && check.passed && check.knownFailures == 1)
  }
}
