import ArgumentParser
import Glibc
import PixtralConformance
import PixtralReference
import PixtralStorage
import PixtralText

struct ConformanceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "conformance",
    abstract: "Judge a runtime by the cases: which stage, which case, which tap is wrong first.",
    discussion: """
      A runtime is a command that answers questions, JSON, a line each, over its standard input and \
      output. Docs/Conformance.md has the protocol, and a runtime in Python to begin with.

        pixtral-ref conformance run --runtime 'pixtral-ref conformance session'
      """,
    subcommands: [
      RunConformance.self, ListCases.self, ShowCase.self, LintCommand.self, VerifyCommand.self,
      SessionCommand.self,
    ])
}

/// Which cases.
struct ChosenCases: ParsableArguments {
  @Option(help: "The folder Fixtures/cases; found in the checkout without this.")
  var fixtures: String?

  @Option(help: "Stages, separated by commas: \(Stage.allCases.map(\.rawValue).joined(separator: ", ")).")
  var stage: String?

  @Option(help: "Ids, shell patterns separated by commas; * matches slashes too.")
  var cases: String?

  private func folder() throws -> String {
    try fixtures ?? shared("Fixtures/cases", what: "the cases", option: "--fixtures")
  }

  /// What mistakes answer, which lies beside the cases.
  func faults() throws -> FaultAnswers {
    let folder = try "\(PixtralStorage.folder(of: folder()))/faults"
    return isFolder(folder) ? try FaultAnswers(folder) : FaultAnswers()
  }

  /// - Throws: `InputError` if there are none, or a word names nothing.
  func read() throws -> [ConformanceCase] {
    let all = try CaseFiles(folder()).cases
    let stages = try stage?.split(separator: ",").map { word in
      guard let stage = Stage(rawValue: String(word)) else {
        throw InputError(
          .wrongArgument, "--stage \(word)",
          expected: Stage.allCases.map(\.rawValue).joined(separator: ", "), found: String(word))
      }
      return stage
    }
    let globs = patterns(cases)
    for glob in globs where !all.contains(where: { fnmatch(glob, $0.id, 0) == 0 }) {
      throw InputError(
        .wrongArgument, "--cases \(glob)", expected: "a pattern that matches a case", found: "none",
        advice: "pixtral-ref conformance list shows them")
    }
    let chosen = all.filter { question in
      (stages?.contains(question.stage) ?? true)
        && (globs.isEmpty || globs.contains { fnmatch($0, question.id, 0) == 0 })
    }
    guard !chosen.isEmpty else {
      throw InputError(.wrongArgument, "--stage and --cases", expected: "at least one case", found: "none")
    }
    return chosen
  }
}

struct ListCases: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List cases: a line of JSON each, with id, stage, title and exposes.")

  @OptionGroup var chosen: ChosenCases

  func run() throws {
    for question in try chosen.read() {
      let line: JSON = [
        "id": .string(question.id), "stage": .string(question.stage.rawValue),
        "title": .string(question.title),
        "exposes": .array(question.exposes.map(JSON.string)),
      ]
      Console.out(line.text())
    }
  }
}

struct ShowCase: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show one case whole, as JSON.")

  @Argument(help: "The id of a case.")
  var id: String

  @OptionGroup var chosen: ChosenCases

  func run() throws {
    guard let question = try chosen.read().first(where: { $0.id == id }) else {
      throw InputError(
        .wrongArgument, id, expected: "the id of a case", found: "none of that name",
        advice: "pixtral-ref conformance list shows them")
    }
    var bytes: [UInt8] = []
    question.json.write(to: &bytes, compact: false)
    Console.out(String(decoding: bytes, as: UTF8.self))
  }
}

struct RunConformance: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Ask a runtime the questions of the cases, and judge its answers.",
    discussion: """
      Prints a table of stages and verdicts, what is wrong first, and for each failure the command that \
      repeats it alone. A runtime that crashes, hangs or loses the thread is started anew, and the run goes on.

      Exits with 0 if nothing failed, else with 1; also if nothing was asked, or a case passes that --known \
      says will fail.
      """)

  @Option(help: "The command of the runtime, for a shell.")
  var runtime: String

  @OptionGroup var chosen: ChosenCases

  @Option(help: "Seconds that an answer may take.")
  var timeout = 60.0

  @Option(help: "Cases that are known to fail: a line each, the id and the reason.")
  var known: String?

  @Flag(help: "Print one JSON object instead of a table.")
  var json = false

  @Option(help: "Also write JUnit's XML.")
  var junit: String?

  @OptionGroup var tokenizer: TokenizerFile

  func validate() throws {
    guard timeout > 0, timeout < 1e6 else { throw ValidationError("--timeout must be a number of seconds.") }
  }

  func run() throws {
    let cases = try chosen.read()
    let known = try known.map(readKnown) ?? [:]
    let folder = try TemporaryFolder("pixtral-ref-conformance")
    let runtime = try Runtime(runtime, folder: folder.path, timeout: timeout)
    let asking = Asking(
      runtime, tokenizer: try tokenizer.read(), tokenizerFile: try tokenizer.path(),
      faults: try chosen.faults())
    var verdicts: [CaseVerdict] = []
    for (n, question) in cases.enumerated() {
      if n % 50 == 0 || question.stage == .model { Console.progress(done: n, of: cases.count, question.id) }
      verdicts.append(try asking(question))
    }
    Console.progress("")
    let report = Report(runtime.description, verdicts, known: known)
    if let junit {
      let file = try NewFile(junit, sparing: [])
      try file.write(Array(report.junit.utf8))
      try file.finish()
    }
    if json { Console.out(report.json.text()) } else { show(report) }
    if !report.passed { throw ExitCode.comparisonFailed }
  }

  private func readKnown(_ path: String) throws -> [String: String] {
    let text = try MappedFile(path).withBytes { String(decoding: $0, as: UTF8.self) }
    var known: [String: String] = [:]
    for (n, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let words = line.split(separator: " ", maxSplits: 1)
      if words.isEmpty || words[0].hasPrefix("#") { continue }
      guard words.count == 2 else {
        throw InputError(
          .wrongArgument, "\(path), line \(n + 1)", expected: "an id and a reason", found: "\"\(line)\"")
      }
      known[String(words[0])] = String(words[1])
    }
    return known
  }

  private func show(_ report: Report) {
    let runtime = report.runtime
    Console.out("\(runtime.name) \(runtime.version), \(runtime.arithmetic.rawValue)\n")
    let shown = CaseVerdict.Verdict.allCases.filter { report.count($0) > 0 }
    let rows = Stage.allCases.filter { stage in report.verdicts.contains { $0.stage == stage } }.map {
      stage in
      [stage.rawValue] + shown.map { "\(report.count($0, of: stage))" }
    }
    Console.out(Console.table([["stage"] + shown.map(\.rawValue)] + rows).joined(separator: "\n"))

    let failures = report.failures
    if let first = failures.first {
      Console.out("\nwrong first: \(first.id)\(first.tap.map { ", at \($0)" } ?? "")")
      for verdict in failures.prefix(20) { show(verdict) }
      if failures.count > 20 { Console.out("… and \(failures.count - 20) more; --json has all") }
    }
    for verdict in report.unexpectedPasses {
      Console.out("\n\(verdict.id) passes, and is known to fail: \(report.known[verdict.id] ?? "")")
    }
    Console.out(
      report.isEmpty
        ? "\nnothing was asked: the runtime claims no feature of these cases"
        : "\n\(report.passed ? "nothing failed" : "\(counted(failures.count, "case")) failed")")
  }

  private func show(_ verdict: CaseVerdict) {
    var text = "\n\(verdict.verdict.rawValue)  \(verdict.id)"
    if let tap = verdict.tap { text += "\n  at \(tap)" }
    if let distance = verdict.distance, let limit = verdict.limit {
      text += "\n  \(Console.scientific(distance)), the limit is \(Console.scientific(limit))"
    }
    if !verdict.looksLike.isEmpty {
      text += "\n  looks like \(verdict.looksLike.joined(separator: " or ")) (Docs/Faults.md)"
    }
    if let detail = verdict.detail { text += "\n  \(onOneLine(detail))" }
    Console.out(
      text + "\n  again: pixtral-ref conformance run --runtime '\(runtime)' --cases '\(verdict.id)'")
  }
}

/// A folder that goes when the command ends.
private final class TemporaryFolder {
  let path: String

  init(_ name: String) throws {
    let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(parent)/\(name)-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw InputError(
        .unwritable, parent, expected: "a folder for files of a session", found: systemMessage())
    }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { Self.remove(path) }

  private static func remove(_ path: String) {
    // A link goes, and not what it leads to.
    if unlink(path) == 0 { return }
    for name in fileNames(in: path) ?? [] { remove("\(path)/\(name)") }
    rmdir(path)
  }
}
