import ArgumentParser
import Glibc
import PixtralConformance
import PixtralProgram
import PixtralStorage

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
      RunConformance.self, ListCases.self, ShowCase.self, ExportCommand.self, LintCommand.self,
      VerifyCommand.self, SessionCommand.self,
    ])
}

/// Where the suite is.
struct ChosenFixtures: ParsableArguments {
  @Option(help: "The folder Fixtures/cases; found in the checkout without this.")
  var fixtures: String?

  func folder() throws -> String {
    try fixtures ?? shared("Fixtures/cases", what: "the cases", option: "--fixtures")
  }

  /// What mistakes answer, which lies beside the cases.
  func faults() throws -> FaultAnswers {
    let folder = try "\(PixtralStorage.folder(of: folder()))/faults"
    return isFolder(folder) ? try FaultAnswers(folder) : FaultAnswers()
  }

  /// What endpoints are asked beside, which lies beside the cases; nil where it does not.
  func endpoint() throws -> EndpointSuite? {
    let fixtures = try PixtralStorage.folder(of: folder())
    return isFolder("\(fixtures)/endpoint") ? try EndpointSuite(fixtures) : nil
  }

  /// The suite's manifest; nil for cases that have none beside them.
  func manifest() throws -> Manifest? {
    let file = try "\(PixtralStorage.folder(of: folder()))/manifest.json"
    return access(file, R_OK) == 0 ? try Manifest(file) : nil
  }
}

/// Which cases.
struct ChosenCases: ParsableArguments {
  @OptionGroup var suite: ChosenFixtures

  @Option(help: "Stages, separated by commas: \(Stage.allCases.map(\.rawValue).joined(separator: ", ")).")
  var stage: String?

  @Option(help: "Ids, shell patterns separated by commas; * matches slashes too.")
  var cases: String?

  /// Every case of the suite, but for those of endpoints.
  func all() throws -> [ConformanceCase] { try CaseFiles(suite.folder()).cases }

  /// - Throws: `InputError` if there are none, or a word names nothing.
  func read() throws -> [ConformanceCase] { try read(from: all()) }

  /// The same, with the cases of endpoints.
  func readEvery() throws -> [ConformanceCase] {
    try read(from: all() + (suite.endpoint()?.cases ?? []))
  }

  func read(from all: [ConformanceCase]) throws -> [ConformanceCase] {
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
      throw InputError(
        .wrongArgument, "--stage and --cases", expected: "at least one case", found: "none",
        advice: stages?.contains(.endpoint) == true ? "stage endpoint is asked with --endpoint" : "")
    }
    return chosen
  }
}

struct ListCases: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List cases: a line of JSON each, with id, stage, title and exposes.")

  @OptionGroup var chosen: ChosenCases

  func run() throws {
    for question in try chosen.readEvery() {
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
    guard let question = try chosen.readEvery().first(where: { $0.id == id }) else {
      throw InputError(
        .wrongArgument, id, expected: "the id of a case", found: "none of that name",
        advice: "pixtral-ref conformance list shows them")
    }
    var bytes: [UInt8] = []
    question.json.write(to: &bytes, compact: false)
    Console.out(String(decoding: bytes, as: UTF8.self))
  }
}
