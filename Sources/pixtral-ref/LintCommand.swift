import ArgumentParser
import PixtralConformance
import PixtralProgram
import PixtralReference
import PixtralStorage

struct LintCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lint",
    abstract: "Check the suite itself: ids, hashes, titles, oracles, witnesses, limits.",
    discussion: """
      Compares Fixtures/cases with Fixtures/manifest.json. Prints a sentence for each rule that is broken, and \
      exits with 1 if there is one.
      """)

  @Option(help: "The folder Fixtures/cases; found in the checkout without this.")
  var fixtures: String?

  @Flag(help: "Print one JSON object instead.")
  var json = false

  func run() throws {
    let cases = try fixtures ?? shared("Fixtures/cases", what: "the cases", option: "--fixtures")
    let lint = try Lint(folder(of: cases)) { Console.progress(done: $0, of: $1, "files") }
    Console.progress("")
    if json {
      let object: JSON = [
        "passed": .bool(lint.problems.isEmpty), "cases": .integer(lint.count),
        "problems": .array(lint.problems.map(JSON.string)),
      ]
      Console.out(object.text())
    } else {
      for problem in lint.problems { Console.out(problem) }
      Console.out("\(lint.count) cases, \(counted(lint.problems.count, "problem"))")
    }
    if !lint.problems.isEmpty { throw ExitCode.comparisonFailed }
  }
}
