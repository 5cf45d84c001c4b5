import ArgumentParser

@main
struct PixtralRef: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pixtral-ref",
    abstract: "A reference implementation of Mistral's Pixtral Large, for checking other runtimes.",
    discussion: """
      Results are JSON on standard output; progress and messages go to standard error. Exit code 0: done. 1: an input was \
      refused or a comparison failed, with one sentence that says why. 64: wrong usage.
      """,
    subcommands: [TraceCommand.self, TokensCommand.self, ImageCommand.self, CompareCommand.self, CheckpointCommand.self])
}
