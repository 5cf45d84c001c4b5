import ArgumentParser
import Glibc
import PixtralStorage

/// How each of our programs begins and ends.
package enum Program {
  /// Also in `trace.json`.
  package static let version = "0.3.0"

  /// To be called first.
  ///
  /// - Throws: `InputError` of kind `wrongArgument` for an argument that is no text.
  package static func begin() throws {
    on_exit(leaveAtOnce, nil)
    keepStandardDescriptors()
    CutOffFiles.watch { end($0) }
    try checkArguments()
  }

  /// To be called with what a command has thrown.
  ///
  /// - command: the program's.
  package static func end<Command: ParsableCommand>(_ error: any Error, of command: Command.Type) -> Never {
    if let error = error as? InputError { end(error) }
    let code = command.exitCode(for: error)
    // Help goes to standard output; a comparison that failed says nothing more.
    if code.isSuccess || error is ExitCode { command.exit(withError: error) }
    Console.message(command.fullMessage(for: error))
    exit(code.rawValue)
  }

  private static func end(_ error: InputError) -> Never {
    Console.progress("")
    Console.message("Error: \(error)")
    exit(ExitCode.refused.rawValue)
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
  package static let comparisonFailed = ExitCode(1)
  /// An input was refused or could not be read, or an output could not be written.
  package static let refused = ExitCode(2)
}

/// The file that this program is, without links.
package func pathOfThisProgram() -> String {
  var path = [CChar](repeating: 0, count: 4096)
  let length = max(0, readlink("/proc/self/exe", &path, 4095))
  return String(decoding: path[..<length].map(UInt8.init), as: UTF8.self)
}
