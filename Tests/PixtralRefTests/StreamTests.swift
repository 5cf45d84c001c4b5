import Foundation
import PixtralStorage
import TestSupport
import Testing

/// Standard input and output of `tokens --jsonl` and `--decode`, as event loops, ssh and shells give them.
@Suite("Streams")
struct StreamTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func run(_ line: String) throws -> (code: Int32, out: String, error: String) {
    try shell(line, in: folder.path)
  }

  private func doNotWait(_ handle: FileHandle) {
    let descriptor = handle.fileDescriptor
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
  }

  private func answers(_ text: some StringProtocol) throws -> [JSON] {
    try text.split(separator: "\n").map { try JSON(parsing: String($0), place: "stdout") }
  }

  @Test func anInputThatDoesNotWaitIsWaitedFor() throws {
    let process = try program(["tokens", "--jsonl"])
    let (input, output) = (Pipe(), Pipe())
    doNotWait(input.fileHandleForReading)
    (process.standardInput, process.standardOutput) = (input, output)
    try process.run()
    // After each answer there is nothing to be read until the next question.
    for number in 0..<100 {
      input.fileHandleForWriting.write(Data("{\"id\": \(number), \"text\": \"Hello\"}\n".utf8))
      var answer = Data()
      while answer.last != UInt8(ascii: "\n") {
        let more = output.fileHandleForReading.availableData
        try #require(!more.isEmpty, "the program has ended before the answer to question \(number)")
        answer += more
      }
      #expect(try answers(String(decoding: answer, as: UTF8.self)).map { $0["id"]?.integer } == [number])
    }
    input.fileHandleForWriting.closeFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }

  @Test func anOutputThatDoesNotWaitIsWaitedFor() throws {
    let questions = (0..<20_000).map { "{\"id\": \($0), \"tokens\": [23325]}\n" }.joined()
    let process = try program(["tokens", "--decode"])
    process.standardInput = FileHandle(forReadingAtPath: try folder.write("questions", questions))
    let output = Pipe()
    doNotWait(output.fileHandleForWriting)
    // Answers of hundreds of kilobytes do not fit in a page.
    let sizeOfPipe: Int32 = 1031  // F_SETPIPE_SZ
    try #require(fcntl(output.fileHandleForWriting.fileDescriptor, sizeOfPipe, 4096) >= 4096)
    process.standardOutput = output
    try process.run()
    let out = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    #expect(try answers(String(decoding: out, as: UTF8.self)).map { $0["id"]?.integer } == Array(0..<20_000))
  }

  @Test(
    arguments: ["--jsonl < .", "--jsonl <&-", "--jsonl 0> file", "--decode < .", "--decode <&-"])
  func anInputThatCannotBeReadIsRefused(arguments: String) throws {
    let result = try run("\"$0\" tokens \(arguments)")
    #expect(result.code == 2)
    #expect(result.error.contains("standard input: expected lines that can be read, found "))
  }

  /// The program has put something else in the place of what is closed.
  @Test(arguments: [
    (
      "tokens --request - <&-",
      "Error: -: expected a readable file, found standard input, which is closed or only for writing; "
        + "give the file's name, or send it with < or |"
    ),
    (
      "trace --tokens /dev/stdin --out x 0> file",
      "Error: /dev/stdin: expected a readable file, found standard input, which is closed or only for writing; "
        + "give the file's name, or send it with < or |"
    ),
    (
      "checkpoint inspect seeded:tiny >&-",
      "standard output: expected room to write, found it closed or only for reading"
    ),
    (
      "tokens --jsonl <&-",
      "Error: standard input: expected lines that can be read, found it closed or only for writing"
    ),
    (
      "tokens --fim /dev/fd/7 7<&-",
      "Error: /dev/fd/7: expected a readable file, found descriptor 7, which is closed or only for writing; "
        + "give the file's name, or send it with < or |"
    ),
  ])
  func whatIsClosedIsSaidToBe(arguments: String, said: String) throws {
    let result = try run("\"$0\" \(arguments)")
    #expect(result.code == 2)
    #expect(result.error == "\(said)\n")
  }

  @Test(arguments: ["--jsonl > /dev/full", "--jsonl >&-", "--text a > /dev/full", "--text a >&-"])
  func anAnswerThatCannotBeWrittenIsNoSuccess(arguments: String) throws {
    let result = try run("echo '{\"text\": \"a\"}' | \"$0\" tokens \(arguments)")
    #expect(result.code == 2)
    #expect(result.error.contains("standard output: expected room to write, found "))
  }

  @Test func anEmptyInputHasNoAnswers() throws {
    let result = try run("\"$0\" tokens --jsonl < /dev/null")
    #expect(result.code == 0 && result.out.isEmpty && result.error.isEmpty)
  }

  @Test func aLastLineNeedsNoEnd() throws {
    let result = try run("printf '{\"id\": 1, \"text\": \"Hello\"}' | \"$0\" tokens --jsonl")
    #expect(try answers(result.out).map { $0["tokens"]?.integers } == [[23325]])
  }

  @Test func aLineLongerThanAnyPipeComesWhole() throws {
    let long = "head -c 20000000 /dev/zero | tr '\\0' x"
    let result = try run(
      "{ printf '{\"id\": \"'; \(long); printf '\", \"text\": \"\"}\\n{\"text\": \"Hello\"}\\n'; } | \"$0\" tokens --jsonl"
    )
    let found = try answers(result.out)
    #expect(found.count == 2)
    #expect(found.first?["id"]?.string?.utf8.count == 20_000_000)
    #expect(found.last?["tokens"]?.integers == [23325])
  }

  /// The reader's memory ends within lines, at their ends, and behind them.
  @Test func linesOfAllLengthsComeInTheirOrder() throws {
    let ids = (0..<3000).map { number in "\(number)" + String(repeating: "é", count: number * 7919 % 997) }
    let questions = ids.map { "{\"id\": \"\($0)\", \"text\": \"\"}\n" }.joined()
    try folder.write("questions", questions)
    for line in ["\"$0\" tokens --jsonl < questions", "cat questions | \"$0\" tokens --jsonl"] {
      #expect(try answers(run(line).out).map { $0["id"]?.string } == ids)
    }
  }
}
