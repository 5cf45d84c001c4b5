import ArgumentParser
import PixtralProgram

@main
struct PixtralRef: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pixtral-ref",
    abstract: "A reference implementation of Mistral's Pixtral Large, for checking other runtimes.",
    discussion: """
      Results are JSON on standard output; progress and messages go to standard error. Exit code 0: \
      done. 1: a comparison failed, or a trace is not finite. 2: an input was refused or could not be \
      read, with one sentence that says why. 64: wrong usage. A file that is read may be -, which is \
      standard input.
      """,
    version: Program.version,
    subcommands: [
      TraceCommand.self, GenerateCommand.self, TokensCommand.self, ImageCommand.self, CompareCommand.self,
      ServeCommand.self, CheckpointCommand.self, ConformanceCommand.self, DemoCommand.self,
    ])

  static func main() {
    do {
      try Program.begin()
      try checkCommandName()
      var command = try parseAsRoot()
      try command.run()
    } catch {
      Program.end(error, of: self)
    }
  }
}
