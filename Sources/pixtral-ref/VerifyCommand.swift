import ArgumentParser
import PixtralConformance
import PixtralProgram
import PixtralReference
import PixtralStorage

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Check that a report is what it claims: counts, hashes, suite.",
    discussion: """
      REPORT is what `conformance run --json` printed. That its cases are of this suite, each once and in its order, \
      that counts, names and first divergence follow from them, and that nothing was changed since. Exits with 1 if a claim does not hold. \
      What the runtime really answers only a run of one's own shows.
      """)

  @Argument(help: "The report; - for standard input.")
  var report: String

  @OptionGroup var chosen: ChosenFixtures

  @Flag(help: "Print one JSON object instead.")
  var json = false

  func run() throws {
    let report = try JSON(file: report, upTo: 1 << 25, values: ReportCheck.mostValues)
    guard let manifest = try chosen.manifest() else {
      throw InputError(
        .unreadableFile, "manifest.json", expected: "it beside the cases", found: "none",
        advice: "give Fixtures/cases of a checkout with --fixtures")
    }
    let asked = report["endpoint"] == nil ? [] : try chosen.endpoint()?.cases ?? []
    let check = ReportCheck(report, manifest, cases: try CaseFiles(chosen.folder()).cases + asked)
    let known = check.knownFailures > 0 ? ", \(counted(check.knownFailures, "failure")) known" : ""
    if json {
      let object: JSON = [
        "passed": .bool(check.problems.isEmpty), "cases": .integer(check.count.report),
        "suite_cases": .integer(check.count.suite), "report_passed": .bool(check.passed),
        "known_failures": .integer(check.knownFailures), "problems": .array(check.problems.map(JSON.string)),
      ]
      Console.out(object.text())
    } else {
      for problem in check.problems.prefix(20) { Console.out(problem) }
      if check.problems.count > 20 { Console.out("… and \(check.problems.count - 20) more; --json has all") }
      Console.out(
        check.problems.isEmpty
          ? "the report is what it claims: \(check.passed ? "passed" : "not passed"), \(check.count.report) of \(check.count.suite) cases of suite \(manifest.version)\(known)"
          : "\(counted(check.problems.count, "claim")) of the report \(check.problems.count == 1 ? "does" : "do") not hold"
      )
    }
    if !check.problems.isEmpty { throw ExitCode.comparisonFailed }
  }
}
