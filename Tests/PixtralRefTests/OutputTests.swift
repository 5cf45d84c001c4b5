import Foundation
import PixtralStorage
import TestSupport
import Testing

/// What a command leaves when it is refused, interrupted or run twice. (Tools/checks/check_outputs.py tries every
/// command at random moments, on full disks and with kill -9.)
@Suite("What is left on disk")
struct OutputTests {
  let folder: TemporaryFolder
  let out: String

  init() throws {
    folder = try TemporaryFolder()
    out = "\(folder.path)/out"
  }

  private let request = "\(fixtures)/cases/model/tiny/text/request.json"
  private let image = "\(fixtures)/images/model-left.jpg"

  private func run(_ arguments: String..., in folder: String? = nil) throws -> (code: Int32, error: String) {
    let process = try program(arguments, in: folder)
    let error = Pipe()
    (process.standardOutput, process.standardError) = (FileHandle.nullDevice, error)
    try process.run()
    let text = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (process.terminationStatus, text)
  }

  private func files(_ path: String) -> [String] {
    (try? FileManager.default.contentsOfDirectory(atPath: path).sorted()) ?? []
  }

  /// A run that would take hours, begun; interrupted if the test has not done so.
  private func whileComputing(_ body: (Process) throws -> Void) throws {
    let process = try program([
      "trace", "--checkpoint", "seeded:pixtral-large", "--request", "\(fixtures)/requests/photo-512.json",
      "--taps", "vision.patch_conv", "--out", out,
    ])
    process.standardError = FileHandle.nullDevice
    try process.run()
    defer { kill(process.processIdentifier, SIGKILL) }
    while files(out).count < 2, process.isRunning { usleep(10_000) }
    try #require(process.isRunning)
    try body(process)
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGHUP])
  func aStoppedRunLeavesNothingAndEndsOfTheSignal(number: Int32) throws {
    try whileComputing { process in
      kill(process.processIdentifier, number)
      process.waitUntilExit()
      #expect(process.terminationReason == .uncaughtSignal)
      #expect(process.terminationStatus == number)
      #expect(folder.contents == [])
    }
  }

  @Test func aSecondRunIsRefusedAndTheFirstKeepsWhatItHas() throws {
    try whileComputing { _ in
      let before = files(out)
      let second = try run("trace", "--request", request, "--out", out)
      #expect(second.code == 2)
      #expect(second.error.contains("found another run writing it"))
      #expect(files(out) == before)
    }
  }

  @Test func whatAKilledRunLeftGoesWithTheNextOne() throws {
    let names = ["pixels.safetensors", "trace.json", "trace.safetensors"]
    try whileComputing { process in
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
    #expect(files(out) == names.map { "\($0).pixtral-ref-partial" })
    #expect(try run("trace", "--request", request, "--until", "decoder.embeddings", "--out", out).code == 0)
    #expect(files(out) == ["trace.json", "trace.safetensors"])
  }

  @Test func aTraceDoesNotReplaceItsOwnRequest() throws {
    let input = try bytes(of: request)
    try folder.write("trace.json", input)
    let result = try run("trace", "--request", "trace.json", "--out", ".", in: folder.path)
    #expect(result.code == 2)
    #expect(result.error.hasPrefix("Error: ./trace.json: expected a file that can be written, found a file"))
    #expect(folder.contents == ["trace.json"])
    #expect(try bytes(of: "\(folder.path)/trace.json") == input)
  }

  @Test func aTraceDoesNotReplaceAnImageOfItsRequest() throws {
    let input = try bytes(of: image)
    try folder.write("trace.safetensors", input)
    let request = try folder.write(
      "request.json",
      #"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "trace.safetensors"}]}]}"#
    )
    #expect(try run("trace", "--request", request, "--out", folder.path).code == 2)
    #expect(try bytes(of: "\(folder.path)/trace.safetensors") == input)
  }

  @Test func aTraceDoesNotReplaceAFileOfItsCheckpoint() throws {
    let checkpoint = try smallCheckpoint(in: folder)
    let weights = "\(checkpoint)/consolidated.safetensors"
    try FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: false)
    #expect(link(weights, "\(out)/trace.safetensors") == 0)
    let before = try bytes(of: weights)
    let tokens = try folder.write("tokens.json", "[1, 2]")
    let result = try run("trace", "--checkpoint", checkpoint, "--tokens", tokens, "--out", out)
    #expect(result.code == 2)
    #expect(result.error.contains("found a file that the same command reads"))
    #expect(try bytes(of: weights) == before)
  }

  @Test func aTraceIntoAFolderWithAFolderOfItsNameIsRefusedAtOnce() throws {
    try FileManager.default.createDirectory(atPath: "\(out)/trace.json", withIntermediateDirectories: true)
    let result = try run(
      "trace", "--checkpoint", "seeded:pixtral-large", "--request", request, "--taps", "logits", "--out", out)
    #expect(result.code == 2)
    #expect(files(out) == ["trace.json"])
  }

  /// `ulimit -f` counts 512 bytes in sh; the signal that goes with it is not to end the run.
  @Test func aTraceThatDoesNotFitIsRefusedAndTheOlderOneStays() throws {
    #expect(try run("trace", "--request", request, "--until", "decoder.embeddings", "--out", out).code == 0)
    let before = try files(out).map { try bytes(of: "\(out)/\($0)") }
    let process = try program(["trace", "--request", request, "--out", out])
    process.arguments =
      ["-c", "ulimit -f 1000; exec \"$0\" \"$@\"", process.executableURL!.path] + (process.arguments ?? [])
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    let error = Pipe()
    process.standardError = error
    try process.run()
    process.waitUntilExit()
    let message = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    #expect(process.terminationStatus == 2)
    #expect(message.contains("trace.safetensors: expected room for "))
    #expect(try files(out).map { try bytes(of: "\(out)/\($0)") } == before)
  }

  /// Its header is whole, so that room is taken for it before its turn comes.
  @Test func anImageThatTurnsOutToBeBrokenLeavesOlderPixelsAsTheyWere() throws {
    try folder.write("pixels", "older")
    let broken = try folder.write("broken.jpg", Array(bytes(of: image).dropLast(400)))
    let result = try run("image", image, broken, image, "--pixels", "\(folder.path)/pixels")
    #expect(result.code == 2)
    #expect(result.error.hasSuffix("nothing written, for a file was refused\n"))
    #expect(folder.contents == ["broken.jpg", "pixels"])
    #expect(try bytes(of: "\(folder.path)/pixels") == Array("older".utf8))
  }

  @Test func anAnswerThatDoesNotArriveLeavesNoOutput() throws {
    let process = try program(["image", image, "--pixels", out])
    process.standardOutput = FileHandle(forWritingAtPath: "/dev/full")
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 2)
    #expect(folder.contents == [])
  }

  @Test(arguments: ["--pixels", "--preview"])
  func aLinkIsRefusedAndWhatIsBehindItStays(option: String) throws {
    let copy = try folder.write("out.partial", bytes(of: image))
    #expect(symlink(copy, out) == 0)
    #expect(try run("image", image, option, out).code == 2)
    #expect(try bytes(of: copy) == bytes(of: image))
    #expect(folder.contents == ["out", "out.partial"])
  }
}
