import Foundation
import PixtralImage
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Traces")
struct TraceTests {
  let folder: TemporaryFolder
  let parameters: Parameters
  let prompt = Prompt(
    tokens: [1, 10, 10, 15, 3],
    pixels: [Pixels(height: 2, width: 4, values: [Float](repeating: 0.5, count: 24))])

  init() throws {
    folder = try TemporaryFolder()
    parameters = try Parameters(JSON(parsing: smallParameters, place: ""), place: "")
  }

  private var all: [PlannedTap] {
    parameters.taps(
      images: prompt.shape(patchSize: 2).images, tokens: prompt.tokens.count, logitRows: 5)
  }

  /// A whole run, whose folder makes its plan by itself.
  private func run(
    in out: String, globs: [String] = [], until: String? = nil, precision: Precision = .float64
  ) throws -> TraceFolder {
    let checkpoint = try Checkpoint(smallCheckpoint(in: folder))
    let recorder = TraceFolder(out, globs: globs, until: until, dtype: precision.dtype, sparing: [])
    do {
      switch precision {
      case .float32: _ = try Pixtral<Float>(checkpoint)(prompt, trace: Trace(recorder))
      case .float64: _ = try Pixtral<Double>(checkpoint)(prompt, trace: Trace(recorder))
      }
    } catch is TraceEnd {}
    _ = try recorder.finish(summary: [])
    return recorder
  }

  /// Runs something while a run of the folder has begun; then gives that run up.
  private func whileBegun(_ path: String, _ body: () throws -> Void = {}) throws {
    let recorder = TraceFolder(path, dtype: .f32, sparing: [])
    try recorder.begin(prompt.shape(patchSize: 2), taps: all)
    try withExtendedLifetime(recorder) { try body() }
  }

  @Test(
    "A trace holds the planned taps, in the order of computation and the precision of the run",
    arguments: Precision.allCases)
  func wholeTrace(precision: Precision) throws {
    let out = "\(folder.path)/out"
    _ = try run(in: out, precision: precision)
    let file = try Safetensors("\(out)/trace.safetensors")
    #expect(file.tensors.map(\.name) == all.filter { !$0.onDemand }.map(\.name))
    #expect(file.tensors.allSatisfy { $0.dtype == precision.dtype })
    #expect(file.tensors.map(\.shape) == all.filter { !$0.onDemand }.map { [$0.rows, $0.columns] })
  }

  @Test("Nothing is computed after --until")
  func until() throws {
    let recorder = try run(in: "\(folder.path)/out", until: "vision.ln_pre")
    #expect(recorder.statistics.map(\.tap.name) == ["vision.patch_conv", "vision.ln_pre"])
    #expect(recorder.lastLogits == nil)
  }

  @Test(
    "A pattern takes ordinary taps; on-demand ones only where it matches nothing else",
    arguments: [
      ("vision.*.attention.q", ["vision.layers.0.attention.q"]),
      (
        "decoder.layers.0.attention.[sw]*",
        ["decoder.layers.0.attention.scores", "decoder.layers.0.attention.weights"]
      ),
      ("*.residual", ["vision.layers.0.residual", "decoder.layers.0.residual"]),
    ])
  func globs(glob: String, expected: [String]) throws {
    #expect(try TapChoice(from: all, globs: [glob]).recorded.map(\.name) == expected)
  }

  @Test("* takes everything but the on-demand taps")
  func star() throws {
    #expect(try TapChoice(from: all, globs: ["*"]).recorded == TapChoice(from: all).recorded)
  }

  @Test("A pattern or a last tap that names nothing is refused")
  func unknownTaps() throws {
    #expect(try refusal { try TapChoice(from: all, globs: ["decoder.q"]) }.kind == .wrongTap)
    #expect(try refusal { try TapChoice(from: all, until: "decoder") }.kind == .wrongTap)
    #expect(
      try refusal { try TapChoice(from: all, globs: ["logits"], until: "vision.ln_pre") }.kind == .wrongTap)
  }

  @Test("A request without images has no vision taps")
  func textOnly() {
    let taps = parameters.taps(images: [], tokens: 3, logitRows: 3)
    #expect(taps[0].name == "decoder.embeddings")
  }

  @Test func aRunThatIsGivenUpLeavesNothingNotEvenTheFoldersAboveIt() throws {
    let out = try TemporaryFolder()
    try whileBegun("\(out.path)/a/b/c")
    #expect(out.contents == [])
  }

  @Test func aLinkUnderATracesNameIsRefusedAndItsTargetStays() throws {
    let out = try TemporaryFolder()
    let target = try folder.write("target", "older")
    for name in ["trace.safetensors", "trace.json"] {
      try FileManager.default.createSymbolicLink(
        atPath: "\(out.path)/\(name)", withDestinationPath: target)
      #expect(try refusal { try whileBegun(out.path) }.found == "a link")
      #expect(out.contents == [name])
      try FileManager.default.removeItem(atPath: "\(out.path)/\(name)")
    }
    #expect(try bytes(of: target) == Array("older".utf8))
  }

  @Test func untilARunEndsThereIsNoTraceUnderItsNames() throws {
    let out = try TemporaryFolder()
    try whileBegun(out.path) {
      #expect(
        out.contents
          == ["pixels.safetensors", "trace.json", "trace.safetensors"].map { "\($0).pixtral-ref-partial" })
    }
    #expect(out.contents == [])
  }

  @Test func anOlderTraceStaysUntilTheNewOneIsWhole() throws {
    let out = try TemporaryFolder()
    _ = try run(in: out.path, globs: ["logits"])
    let names = ["pixels.safetensors", "trace.json", "trace.safetensors"]
    func contents() throws -> [[UInt8]] { try names.map { try bytes(of: "\(out.path)/\($0)") } }
    let before = try contents()
    var during: [[UInt8]] = []
    try whileBegun(out.path) { during = try contents() }
    #expect(during == before)
    #expect(out.contents == names)
    _ = try run(in: out.path, globs: ["vision.*"])
    #expect(out.contents == names)
    #expect(try Safetensors("\(out.path)/trace.safetensors").tensors[0].name == "vision.patch_conv")
  }

  @Test func twoRunsDoNotWriteToOneFolder() throws {
    let out = try TemporaryFolder()
    try whileBegun(out.path) {
      let error = try refusal { try whileBegun(out.path) }
      #expect(error.found.hasPrefix("another run writing it"))
      #expect(out.contents.count == 3)
    }
  }

  @Test(arguments: ["trace.json", "trace.safetensors"])
  func aTraceReplacesNoFileThatTheRunReads(name: String) throws {
    let out = try TemporaryFolder()
    let input = try out.write(name, "an input")
    let recorder = TraceFolder(out.path, dtype: .f32, sparing: [input])
    let error = try refusal { try recorder.begin(prompt.shape(patchSize: 2), taps: all) }
    #expect(error.found == "a file that the same command reads")
    #expect(out.contents == [name])
  }

  @Test(
    "A folder that cannot be written is refused",
    arguments: ["/proc/nowhere/out", "/dev/null/out", "/dev/null", ""])
  func unwritable(path: String) throws {
    let error = try refusal { try whileBegun(path) }
    #expect(error.kind == .unwritable)
  }
}
