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
    let recorder = TraceFolder(out, globs: globs, until: until, dtype: precision.dtype)
    do {
      switch precision {
      case .float32: _ = try Pixtral<Float>(checkpoint)(prompt, trace: Trace(recorder))
      case .float64: _ = try Pixtral<Double>(checkpoint)(prompt, trace: Trace(recorder))
      }
    } catch is TraceEnd {}
    _ = try recorder.finish(summary: [])
    return recorder
  }

  /// A folder whose run has begun.
  private func begun(_ path: String) throws -> TraceFolder {
    let recorder = TraceFolder(path, dtype: .f32)
    try recorder.begin(prompt.shape(patchSize: 2), taps: all)
    return recorder
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

  @Test("A run that is given up leaves nothing, not even the folder")
  func abandoned() throws {
    let out = "\(folder.path)/out"
    let recorder = try begun(out)
    recorder.abandon()
    #expect(folder.contents == [])
  }

  @Test("A link under the trace's name stays, and its target is the trace")
  func link() throws {
    let out = try TemporaryFolder()
    let target = try folder.write("target", "older")
    try FileManager.default.createSymbolicLink(
      atPath: "\(out.path)/trace.safetensors", withDestinationPath: target)
    _ = try run(in: out.path)
    #expect(
      try Safetensors("\(out.path)/trace.safetensors").tensors.count == all.filter { !$0.onDemand }.count)
    #expect(try Safetensors(target).tensors.count == all.filter { !$0.onDemand }.count)
  }

  @Test("Until a run ends there is no trace under its name")
  func unfinished() throws {
    let out = try TemporaryFolder()
    let recorder = try begun(out.path)
    #expect(out.contents == ["trace.safetensors.partial"])
    recorder.abandon()
    #expect(out.contents == [])
  }

  @Test("Two runs do not write to one folder")
  func twoRuns() throws {
    let out = try TemporaryFolder()
    let first = try begun(out.path)
    #expect(try refusal { try begun(out.path) }.found == "another run writing to it")
    first.abandon()
  }

  @Test("New folders go with a run that failed, the outer ones too")
  func newFolders() throws {
    let folder = try TemporaryFolder()
    try begun("\(folder.path)/a/b/c").abandon()
    #expect(folder.contents == [])
  }

  @Test(
    "A folder that cannot be written is refused",
    arguments: ["/proc/nowhere/out", "/dev/null/out", "/dev/null", ""])
  func unwritable(path: String) throws {
    let error = try refusal { try begun(path) }
    #expect(error.kind == .unwritable)
  }
}
