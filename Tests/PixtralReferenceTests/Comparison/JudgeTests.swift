import Foundation
import PixtralImage
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

/// The goldens and their judge, with models that are wrong on purpose: what does not fail here
/// would not fail anywhere.
@Suite("The judge of the goldens")
struct JudgeTests {
  private let checkpoint: Checkpoint

  init() throws { checkpoint = try Checkpoint("seeded:tiny") }

  @Test("Without a fault the model of these tests is Pixtral, bit by bit", arguments: ["text", "two-images"])
  func noFault(name: String) throws {
    let golden = try ModelCase(name)
    var model = WrongModel(checkpoint, nil)
    try model.run(golden.prompt)
    let recorder = MemoryRecorder()
    _ = try Pixtral<Double>(checkpoint)(golden.prompt, trace: Trace(recorder))
    #expect(model.taps.map(\.name) == recorder.taps.map(\.name))
    let other = zip(model.taps, recorder.taps).first { $0.matrix.values != $1.matrix.values }
    #expect(other?.0.name == nil)
  }

  @Test("The model without a fault passes, every tap of it", arguments: ["text", "two-images"])
  func passes(name: String) throws {
    let comparison = try ModelCase(name).judge(nil, checkpoint)
    #expect(comparison.taps.count == (name == "text" ? 48 : 83))
    #expect(comparison.firstDivergence?.name == nil)
  }

  /// Where each fault shows first: the operation to look at.
  static let shown: [(Fault, String)] = [
    (.visionEpsilon, "vision.ln_pre"),
    (.positionsNumbered, "vision.layers.0.attention.q_rotated"),
    (.axesSwapped, "vision.layers.0.attention.q_rotated"),
    (.sameFrequencies, "vision.layers.0.attention.q_rotated"),
    (.halvesRotated, "vision.layers.0.attention.q_rotated"),
    (.maskDropped, "vision.layers.0.attention.context"),
    (.gateAndUpSwapped, "vision.layers.0.feed_forward.gate"),
    (.gatedByGELU, "vision.layers.0.feed_forward.hidden"),
    (.tanhGELU, "adapter.gelu"),
    (.breakTokens12And13, "decoder.embeddings"),
    (.rowsAtBreaks, "decoder.embeddings"),
    (.decoderEpsilon, "decoder.layers.0.attention_norm"),
    (.keysPermuted, "decoder.layers.0.attention.k"),
    (.theta1e9, "decoder.layers.0.attention.q_rotated"),
    (.keyHeadsTiled, "decoder.layers.0.attention.context"),
    (.futureSeen, "decoder.layers.0.attention.context"),
    (.tiedHead, "logits"),
  ]

  @Test("A fault fails, first at the operation that has it", arguments: shown)
  func fails(fault: Fault, tap: String) throws {
    let comparison = try ModelCase("two-images").judge(fault, checkpoint)
    #expect(comparison.firstDivergence?.name == tap)
  }

  @Test("A fault fails in float32 too, or is not decided at first", arguments: shown)
  func failsInFloat32(fault: Fault, tap: String) throws {
    let comparison = try ModelCase("two-images").judge(fault, checkpoint, arithmetic: .float32)
    // The decoder's epsilon is more than the noise in its first norm and less than eight times that.
    let first = fault == .decoderEpsilon ? comparison.undecided.first : comparison.firstDivergence
    #expect(first?.name == tap)
    #expect(comparison.failed)
  }

  @Test("Computed anew from a wrong model's own inputs, the operation that is wrong is off and few others")
  func byItself() throws {
    for (fault, tap) in Self.shown {
      guard case .off(let off, _) = try ModelCase("two-images").judge(fault, checkpoint).anew(checkpoint)
      else {
        #expect(Bool(false), "\(fault): nothing was computed anew")
        continue
      }
      #expect(off.first?.name == tap, "\(fault)")
      // A mistake in a layer is made in each of the five, and at most in two taps: q and k, gate and up.
      #expect(off.count <= 10, "\(fault): \(off.map(\.name))")
    }
  }

  @Test("Of a case that keeps few rows each operation is computed anew from all rows that the candidate has")
  func byItselfOfFewRows() throws {
    let small = try Checkpoint("seeded:small")
    let comparison = try ModelCase("image", of: "small").judge(.tanhGELU, small)
    guard case .off(let off, let between) = try comparison.anew(small) else {
      return #expect(Bool(false), "nothing was computed anew")
    }
    #expect(off.map(\.name) == ["adapter.gelu"])
    #expect(between.isEmpty)
  }

  @Test("Every fault is tried")
  func all() { #expect(Set(Self.shown.map(\.0)) == Set(Fault.allCases)) }
}

extension ModelCase {
  /// Compares what a model with a fault computes with the case.
  ///
  /// - arithmetic: that whose limits hold; nil for float64.
  fileprivate func judge(_ fault: Fault?, _ checkpoint: Checkpoint, arithmetic: Arithmetic? = nil) throws
    -> Comparison
  {
    var model = WrongModel(checkpoint, fault)
    try model.run(prompt)
    let temporary = try TemporaryFolder()
    var file = TensorFile()
    for (name, matrix) in model.taps { file.addDoubles(name, [matrix.rows, matrix.columns], matrix.values) }
    let found = try temporary.write("found.safetensors", file.bytes)
    return try Comparison(
      reference: TraceFile(folder), candidate: TraceFile(found), .init(arithmetic: arithmetic))
  }
}
