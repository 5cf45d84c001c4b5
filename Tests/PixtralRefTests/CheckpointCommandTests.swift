import Foundation
import PixtralStorage
import TestSupport
import Testing

/// The subcommands of `checkpoint`: exit codes, what is on which stream, and both layouts in `trace`.
@Suite("checkpoint and its layouts")
struct CheckpointCommandTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func run(_ arguments: String...) throws -> (code: Int32, out: String, error: String) {
    try outcome(of: program(arguments))
  }

  private func write(_ layout: String) throws -> String {
    let path = "\(folder.path)/\(layout)"
    #expect(try run("checkpoint", "write", "seeded:tiny", "--layout", layout, "--out", path).code == 0)
    return path
  }

  @Test func aTraceOfEitherLayoutIsTheSameBytes() throws {
    let traces = try ["mistral", "hf"].map { layout in
      let out = "\(folder.path)/trace-\(layout)"
      let result = try run(
        "trace", "--checkpoint", write(layout), "--request",
        "\(fixtures)/cases/model/tiny/image/request.json",
        "--out", out)
      #expect(result.code == 0)
      #expect(!result.error.contains("warning"))
      return (
        try bytes(of: "\(out)/trace.safetensors"), try JSON(file: "\(out)/trace.json")["checkpoint_sha256"]
      )
    }
    #expect(traces[0].0 == traces[1].0)
    #expect(traces[0].1 == traces[1].1)
  }

  @Test func aFaithfulConversionExitsWithZero() throws {
    let result = try run("checkpoint", "compare", "seeded:tiny", write("hf"))
    #expect(result.code == 0)
    #expect(
      result.out == """
        19 parameters of 19 agree, 52 tensors of 52 are identical
        CONVERTED is a faithful conversion of ORIGINAL

        """)
    #expect(result.error.isEmpty)
  }

  @Test func aWrongConversionExitsWithOneAndALineForWhatIsWrong() throws {
    let original = try TemporaryFolder()
    let left = try smallCheckpoint(in: original)
    let right = try smallCheckpoint(in: folder, parameters: smallParameters.replacing("1e6", with: "1e4")) {
      file in
      file.tensors.removeAll { $0.name == "norm.weight" }
    }
    let result = try run("checkpoint", "compare", left, right)
    #expect(result.code == 1)
    #expect(
      result.out == """
        rope_theta: ORIGINAL has 1000000.0, CONVERTED has 10000.0
        norm.weight: missing
        20 parameters of 21 agree, 24 tensors of 25 are identical
        CONVERTED is no faithful conversion of ORIGINAL

        """)
    let json = try JSON(parsing: run("checkpoint", "compare", left, right, "--json").out, place: "stdout")
    #expect(json["faithful"] == .bool(false))
    #expect(json["counts"]?["missing"] == .integer(1))
  }

  @Test func aSideThatCannotBeReadExitsWithTwo() throws {
    let result = try run("checkpoint", "compare", "seeded:tiny", "\(folder.path)/nowhere")
    #expect(result.code == 2)
    #expect(result.out.isEmpty)
  }

  @Test func inspectDescribesWhatTraceRefusesAndExitsWithTwo() throws {
    let config = smallConfig.replacing(#""hidden_act": "silu""#, with: #""hidden_act": "gelu""#)
    let result = try run("checkpoint", "inspect", smallHuggingFaceCheckpoint(in: folder, config: config))
    #expect(result.code == 2)
    let json = try JSON(parsing: result.out, place: "stdout")
    #expect(json["doubts"]?.array?.first?["key"] == "vision_config.hidden_act")
    #expect(result.error.contains(#"hidden_act: expected "silu""#))
  }

  @Test func inspectReadsValuesOnlyIfAsked() throws {
    let path = try smallCheckpoint(in: folder)
    for (arguments, has) in [([], false), (["--values"], true)] {
      let process = try program(["checkpoint", "inspect", path] + arguments)
      let out = Pipe()
      process.standardOutput = out
      try process.run()
      let json = try JSON(
        parsing: String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self), place: "")
      process.waitUntilExit()
      #expect((json["tensors"]?.array?.first?["sha256"] != nil) == has)
    }
  }
}
