import Foundation
import TestSupport
import Testing

/// What README tells a reader to type, typed. (Tools/checks/check_walkthrough.py does the same with Python and
/// transformers, and looks at the verdicts.)
@Suite("README's commands")
struct ReadmeTests {
  let folder: TemporaryFolder

  /// A folder in which README's names lead to something.
  init() throws {
    folder = try TemporaryFolder()
    for (name, target) in [("Fixtures", fixtures)] {
      try FileManager.default.createSymbolicLink(
        atPath: "\(folder.path)/\(name)", withDestinationPath: target)
    }
  }

  @Test("Every command of README runs and exits with 0")
  func run() throws {
    let commands = try commands()
    let binary = try #require(program([]).executableURL?.path)
    #expect(commands.count >= 8, "README must show more commands of the program")
    let small = SmallServer(self)
    defer { small.end() }
    for command in commands {
      // What another runtime would have written, and a checkpoint of the reader's own.
      if command.contains("yours.safetensors") {
        try FileManager.default.copyItem(
          atPath: "\(folder.path)/reference/trace.safetensors", toPath: "\(folder.path)/yours.safetensors")
      }
      let process = try program(
        try command.map { word in
          switch word {
          // Of the full shape a test can only try that the options are right.
          case "seeded:pixtral-large": "seeded:tiny"
          case "FOLDER": "tiny-mistral"
          // A runtime at hand.
          case "COMMAND": "\(binary) conformance session"
          case "URL": try small.url
          default: word
          }
        }, in: folder.path)
      if command.first == "serve" {
        try serve(process)
        continue
      }
      let error = Pipe()
      (process.standardOutput, process.standardError) = (FileHandle.nullDevice, error)
      try process.run()
      let message = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      #expect(process.terminationStatus == 0, "pixtral-ref \(command.joined(separator: " ")): \(message)")
    }
  }

  /// A server of seeded:small, from when its address is first wanted.
  private final class SmallServer {
    private let process: Process?
    private let out = Pipe()

    init(_ test: ReadmeTests) {
      process = try? program(["serve", "--checkpoint", "seeded:small", "--port", "0"], in: test.folder.path)
      process?.standardOutput = out
    }

    /// As the server's first line has it.
    var url: String {
      get throws {
        try process?.run()
        let line = String(decoding: out.fileHandleForReading.availableData, as: UTF8.self)
        let start = try #require(line.range(of: "http://")).lowerBound
        return String(line[start...].prefix { !$0.isWhitespace && $0 != "," })
      }
    }

    func end() { if process?.isRunning == true { process?.terminate() } }
  }

  /// A server is told to end once it says that it serves. It fetches nothing, for a test may have no network.
  private func serve(_ process: Process) throws {
    var arguments = try #require(process.arguments)
    if let fetch = arguments.firstIndex(of: "--fetch") { arguments.removeSubrange(fetch...fetch + 1) }
    process.arguments = arguments + ["--port", "0"]
    let out = Pipe()
    process.standardOutput = out
    try process.run()
    let line = String(decoding: out.fileHandleForReading.availableData, as: UTF8.self)
    process.terminate()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0 && line.contains(" serves seeded:tiny"), "\(arguments)")
  }

  /// The arguments of each line that begins with the program's name, continued lines joined, comments dropped.
  private func commands() throws -> [[String]] {
    let readme = try String(contentsOfFile: "\(checkout)/README.md", encoding: .utf8)
      .replacing("\\\n", with: " ")
    let written = readme.split(separator: "\n").map { $0.trimmingPrefix(while: { $0 == " " }) }
      .filter { $0.hasPrefix("pixtral-ref ") && !$0.contains("|") }
      .map { line in
        line.prefix { $0 != "#" }.split(separator: " ").dropFirst()
          .map { String($0).replacing("'", with: "") }
      }
    return [["checkpoint", "write", "seeded:tiny", "--out", "tiny-mistral"]] + written
  }
}
