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
      done. 1: a comparison failed, or a trace is not finite. 2: an input was refused or could not be \
      read, with one sentence that says why. 64: wrong usage. A file that is read may be -, which is \
      standard input.
      """,
    version: version,
    subcommands: [
      TraceCommand.self, GenerateCommand.self, TokensCommand.self, ImageCommand.self, CompareCommand.self,
      CheckpointCommand.self, ConformanceCommand.self, DemoCommand.self,
    ])

  /// Also in `trace.json`.
  static let version = "0.3.0"

  static func main() {
    on_exit(leaveAtOnce, nil)
    keepStandardDescriptors()
    CutOffFiles.watch { end($0) }
    do {
      try checkArguments()
      try checkCommandName()
      var command = try parseAsRoot()
      try command.run()
    } catch let error as InputError {
      end(error)
    } catch {
      let code = exitCode(for: error)
      // Help goes to standard output; a comparison that failed says nothing more.
      if code.isSuccess || error is ExitCode { exit(withError: error) }
      Console.message(fullMessage(for: error))
      Glibc.exit(code.rawValue)
    }
  }

  private static func end(_ error: InputError) -> Never {
    Console.progress("")
    Console.message("Error: \(error)")
    Glibc.exit(ExitCode.refused.rawValue)
  }

  /// Takes the place of a standard descriptor that is closed with one that fails: otherwise a file
  /// opened later would be taken for it.
  private static func keepStandardDescriptors() {
    for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 {
      _ = open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY)
    }
  }

  /// Makes sure that the arguments are text: bytes that are not would reach the commands as other
  /// characters, and name other files.
  ///
  /// - Throws: `InputError` of kind `wrongArgument`.
  private static func checkArguments() throws {
    for number in 1..<max(1, Int(CommandLine.argc)) {
      guard let argument = CommandLine.unsafeArgv[number], String(validatingCString: argument) == nil else {
        continue
      }
      let bytes = UnsafeRawBufferPointer(start: argument, count: strlen(argument))
      throw InputError(
        .wrongArgument, "argument \(number)", expected: "text in UTF-8", found: escaped(bytes),
        advice: "if it is the name of a file, give that another one")
    }
  }

  /// Bytes as a shell's `$'…'` would have them: ASCII as it is, all others by number.
  private static func escaped(_ bytes: UnsafeRawBufferPointer) -> String {
    bytes.map { byte in
      (0x20..<0x7f).contains(byte)
        ? String(UnicodeScalar(byte)) : "\\x\(byte < 16 ? "0" : "")\(String(byte, radix: 16))"
    }.joined()
  }
}

/// Ends a process that is ending: OpenBLAS waits for its threads when it is unloaded, for ever if they
/// lack memory. A function of its own, since any thread may call it.
private func leaveAtOnce(code: Int32, _: UnsafeMutableRawPointer?) {
  fflush(nil)
  _exit(code)
}

extension ExitCode {
  /// A limit was exceeded.
  static let comparisonFailed = ExitCode(1)
  /// An input was refused or could not be read, or an output could not be written.
  static let refused = ExitCode(2)
}
