import PixtralImage
import TestSupport
import Testing

@testable import PixtralReference

/// Prompts that are run together, against the same ones alone.
@Suite("Several prompts")
struct SeveralPromptsTests {
  private let names = ["two-images", "text", "small-rgba"]
  private let model = Pixtral<Double>(try! Checkpoint("seeded:tiny"))

  /// The taps of the prompts of these cases, run together or one by one.
  private func traced<Scalar>(
    _ model: Pixtral<Scalar>, _ names: [String], together: Bool
  ) throws -> [MemoryRecorder] {
    let prompts = try names.map { try ModelCase($0).prompt }
    let recorders = prompts.map { _ in MemoryRecorder(onDemand: true) }
    if together {
      _ = try model(prompts, trace: Trace(recorders))
    } else {
      for (prompt, recorder) in zip(prompts, recorders) { _ = try model(prompt, trace: Trace(recorder)) }
    }
    return recorders
  }

  /// Makes sure that each prompt has the taps that it has alone, in the same order.
  private func expectSame(_ together: [MemoryRecorder], _ alone: [MemoryRecorder], within limit: Double) {
    for (together, alone) in zip(together, alone) {
      #expect(together.taps.map(\.name) == alone.taps.map(\.name))
      for (tap, own) in zip(together.taps, alone.taps) {
        #expect(tap.matrix.rows == own.matrix.rows, "\(tap.name)")
        // A score that may not be seen is −∞ in both.
        let (found, expected) = (tap.matrix.values, own.matrix.values)
        #expect(zip(found, expected).allSatisfy { $0.isFinite == $1.isFinite }, "\(tap.name)")
        #expect(
          relF(found.filter(\.isFinite), expected.filter(\.isFinite)) <= limit, "\(tap.name)")
      }
    }
  }

  @Test("Each prompt has every tap that it has alone, maps of attention too: in float64 to its rounding")
  func float64() throws {
    expectSame(
      try traced(model, names, together: true), try traced(model, names, together: false), within: 2e-15)
  }

  @Test("So it has in float32")
  func float32() throws {
    let model = Pixtral<Float>(model.checkpoint)
    expectSame(
      try traced(model, names, together: true), try traced(model, names, together: false), within: 2e-6)
  }

  @Test("The order of the prompts does not matter")
  func order() throws {
    expectSame(
      try traced(model, names.reversed(), together: true),
      try traced(model, names, together: true).reversed(),
      within: 2e-15)
  }

  @Test("Each prompt's last rows have logits")
  func lastLogits() throws {
    let prompts = try names.map { try ModelCase($0).prompt }
    let together = try model(prompts, logitRows: 2)
    for (logits, prompt) in zip(together, prompts) {
      #expect(relF(logits.values, try model(prompt, logitRows: 2).values) <= 2e-15)
    }
  }

  @Test("A recorder that has seen enough does not end the run of the others")
  func oneEnds() throws {
    let prompts = try ["text", "small-rgba"].map { try ModelCase($0).prompt }
    let (first, second) = (EndingRecorder(at: "decoder.embeddings"), EndingRecorder(at: "decoder.norm"))
    #expect(throws: TraceEnd.self) { _ = try model(prompts, trace: Trace([first, second])) }
    #expect(first.names == ["decoder.embeddings"])
    #expect(second.names.last == "decoder.norm")
  }

  @Test("What a recorder puts in the place of a tap changes its own prompt alone")
  func replacement() throws {
    let prompts = try ["text", "small-rgba"].map { try ModelCase($0).prompt }
    let logits = try model(prompts, trace: Trace([MemoryRecorder(), ZeroEmbeddings()]))
    #expect(relF(logits[0].values, try model(prompts[0]).values) <= 2e-15)
    #expect(logits[1].values.allSatisfy { $0 == 0 })
  }

  @Test("Memory is counted for all prompts together")
  func memory() throws {
    let shape = Prompt(tokens: [Int](repeating: 3, count: 1000)).shape(patchSize: 2)
    let taps = model.checkpoint.parameters.taps(images: [], tokens: 1000, logitRows: 1000)
    let alone = RunMemory(dtype: .f32) { (memory: 300 << 20, addresses: 1 << 40) }
    try alone.add(taps, for: shape)
    let error = try refusal { try alone.add(taps, for: shape) }
    #expect(error.kind == .largeRun)
    #expect(error.found.hasSuffix("for 2000 tokens of 2 prompts"), "\(error.found)")
    #expect(error.advice.hasPrefix("compute less: fewer requests at once"))
  }

  @Test("Memory is counted for the keys and values that an answer keeps")
  func cacheMemory() throws {
    let shape = Prompt(tokens: [Int](repeating: 3, count: 1000)).shape(patchSize: 2)
    let taps = model.checkpoint.parameters.taps(images: [], tokens: 1000, logitRows: 1)
    func run() -> RunMemory {
      RunMemory(dtype: .f32, advice: "a shorter request") { (memory: 300 << 20, addresses: 1 << 40) }
    }
    try run().add(taps, for: shape, answer: 1000)
    let error = try refusal { try run().add(taps, for: shape, answer: 1_000_000) }
    #expect(error.kind == .largeRun)
    #expect(error.advice == "compute less: a shorter request")
  }
}

/// Needs nothing behind a tap.
private final class EndingRecorder: TraceRecorder {
  private(set) var names: [String] = []
  private let last: String

  init(at last: String) { self.last = last }

  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) throws {
    names.append(name)
    if name == last { throw TraceEnd() }
  }
}

/// Has the decoder begin with zeros, which it keeps.
private final class ZeroEmbeddings: TraceRecorder {
  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) {}

  func replacement<Scalar: BLASScalar>(of name: String, _ value: Matrix<Scalar>) -> Matrix<Scalar>? {
    name == "decoder.embeddings" ? Matrix(repeating: 0, rows: value.rows, columns: value.columns) : nil
  }
}
