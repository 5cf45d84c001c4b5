import COpenBLAS
import Foundation
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

/// Runs in processes of their own, as the number of threads is read once in each.
@Suite("Threads, and where a run ends")
struct ThreadTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// Another number of threads cuts weights into other blocks, and sums may take another order. How far that
  /// takes a tap depends on OpenBLAS's kernels: 9.5e-16 with Haswell's, 1.1e-15 with Prescott's, 2.4e-15 with
  /// SkylakeX's, of the weights of attention in the last layer; in float32 1.2e-6 and 1.5e-6.
  @Test("One, two and seven threads compute the same in float64, maps of attention too")
  func float64() async throws {
    for threads in [1, 2, 7] {
      await #expect(processExitsWith: .success) { [path = folder.path as String, threads = threads as Int] in
        try record(Double.self, "two-images", threads, globs: ["*", "*.scores", "*.weights"], to: path)
      }
    }
    // 83 taps, two more in each of 5 layers, and the pixels of two images.
    try expectSame(taps: 95, limit: 5e-15)
  }

  @Test("So they do in float32")
  func float32() async throws {
    for threads in [1, 2, 7] {
      await #expect(processExitsWith: .success) { [path = folder.path as String, threads = threads as Int] in
        try record(Float.self, "two-images", threads, globs: ["*", "*.scores", "*.weights"], to: path)
      }
    }
    try expectSame(taps: 95, limit: 3e-6)
  }

  @Test("So they do where attention takes several blocks of queries")
  func long() async throws {
    for threads in [1, 2, 7] {
      await #expect(processExitsWith: .success) { [path = folder.path as String, threads = threads as Int] in
        try record(Double.self, "long", threads, globs: [], to: path)
      }
    }
    try expectSame(taps: 84, limit: 2e-15)
  }

  @Test("--until on a tap on demand ends the run there, and keeps what --taps names")
  func untilOnDemand() throws {
    let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let program = Process()
    program.executableURL = URL(fileURLWithPath: tests).deletingLastPathComponent().appending(
      path: "pixtral-ref")
    program.arguments = [
      "trace", "--request", request("small-rgba"), "--taps", "vision.layers.0.attention.q", "--until",
      "vision.layers.0.attention.scores", "--out", folder.path,
    ]
    program.standardOutput = FileHandle.nullDevice
    program.standardError = FileHandle.nullDevice
    try program.run()
    program.waitUntilExit()
    #expect(program.terminationStatus == 0)
    let file = try Safetensors("\(folder.path)/trace.safetensors")
    #expect(file.tensors.map(\.name) == ["vision.layers.0.attention.q"])
    #expect(try JSON(file: "\(folder.path)/trace.json")["next_tokens"] == nil)
  }

  private func expectSame(taps: Int, limit: Double) throws {
    for threads in [2, 7] {
      let comparison = try Comparison(
        reference: TraceFile("\(folder.path)/1"), candidate: TraceFile("\(folder.path)/\(threads)"),
        .init(limit: DistanceLimit(relF: limit)))
      #expect(comparison.taps.count == taps)
      #expect(comparison.firstDivergence?.name == nil, "\(threads) threads")
    }
  }
}

/// Traces a request of Fixtures/cases/model/tiny to a folder named by the number of threads.
///
/// OpenBLAS takes no more threads from `OPENBLAS_NUM_THREADS` than there are cores; from this call
/// it does.
private func record<Scalar: BLASScalar>(
  _: Scalar.Type, _ name: String, _ threads: Int, globs: [String], to path: String
) throws {
  openblas_set_num_threads(Int32(threads))
  try BLAS.begin()
  precondition(BLAS.threads == threads, "\(BLAS.threads) threads")
  let tokenizer = try Tokenizer(file: "\(checkout)/Fixtures/tokenizer/\(Tokenizer.fileName)")
  let folder = TraceFolder(
    "\(path)/\(threads)", globs: globs, dtype: Scalar.self == Float.self ? .f32 : .f64, sparing: [])
  do {
    _ = try Pixtral<Scalar>(Checkpoint("seeded:tiny"))(
      ChatRequest(file: request(name)), tokenizer: tokenizer, logitRows: 1, trace: Trace(folder))
  } catch is TraceEnd {}
  _ = try folder.finish(summary: [])
}

private func request(_ name: String) -> String {
  "\(checkout)/Fixtures/cases/model/tiny/\(name)/request.json"
}
