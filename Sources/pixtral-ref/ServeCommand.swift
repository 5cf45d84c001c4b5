import ArgumentParser
import Glibc
import PixtralProgram
import PixtralStorage

/// Starts the server, which is a program of its own: nobody waits for its libraries who does not serve.
struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Answer over HTTP, as an OpenAI-compatible server.",
    discussion: """
      Starts the program pixtral-ref-serve with the same arguments; `pixtral-ref serve --help` is its help. \
      `make serve` builds it.
      """)

  @Argument(parsing: .captureForPassthrough, help: "Arguments of pixtral-ref-serve.")
  var arguments: [String] = []

  static let program = "pixtral-ref-serve"

  /// Becomes the other program: the one beside this one, or else the first on the path.
  func run() throws {
    let beside = "\(folder(of: pathOfThisProgram()))/\(Self.program)"
    let words = ([Self.program] + arguments).map { strdup($0) } + [nil]
    execv(beside, words)
    execvp(Self.program, words)
    throw InputError(
      .unreadableFile, Self.program, expected: "the server beside this program, or on the path",
      found: systemMessage(), advice: "make serve builds it")
  }
}
