import ArgumentParser
import Glibc
import PixtralStorage

@main
struct PixtralRef: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pixtral-ref",
    abstract: "A reference implementation of Mistral's Pixtral Large, for checking other runtimes.",
    discussion: """
      Results are JSON on standard output; progress and messages go to standard error. Exit code 0: \
      done. 1: a comparison failed. 2: an input was refused or could not be read, with one sentence that \
      says why. 64: wrong usage.
      """,
    version: version,
    subcommands: [
      TraceCommand.self, TokensCommand.self, ImageCommand.self, CompareCommand.self, CheckpointCommand.self,
    ])

  /// Also in `trace.json`.
  static let version = "0.3.0"

  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let error as InputError {
      Console.message("Error: \(error)")
      Glibc.exit(ExitCode.refused.rawValue)
    } catch {
      exit(withError: error)
    }
  }
}

extension ExitCode {
  /// A limit was exceeded.
  static let comparisonFailed = ExitCode(1)
  /// An input was refused or could not be read, or an output could not be written.
  static let refused = ExitCode(2)
}
