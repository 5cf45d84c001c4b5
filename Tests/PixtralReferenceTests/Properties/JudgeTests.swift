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
    let golden = try Golden(name)
    var model = WrongModel(checkpoint, nil)
    model.run(golden.prompt)
    let recorder = Recorder()
    _ = try Pixtral<Double>(checkpoint)(golden.prompt, trace: Trace(recorder))
    #expect(model.taps.map(\.name) == recorder.taps.map(\.name))
    let other = zip(model.taps, recorder.taps).first { $0.matrix.values != $1.values }
    #expect(other?.0.name == nil)
  }

  @Test("The model without a fault passes, every tap of it", arguments: ["text", "two-images"])
  func passes(name: String) throws {
    let comparison = try Golden(name).judge(nil, checkpoint)
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
    let comparison = try Golden("two-images").judge(fault, checkpoint)
    #expect(comparison.firstDivergence?.name == tap)
  }

  @Test("A fault fails at the limit for float32 too, unless it is an epsilon", arguments: shown)
  func failsInFloat32(fault: Fault, tap: String) throws {
    let comparison = try Golden("two-images").judge(fault, checkpoint, limit: DistanceLimit(for: .f32))
    let isEpsilon = fault == .visionEpsilon || fault == .decoderEpsilon
    #expect(comparison.firstDivergence?.name == (isEpsilon ? nil : tap))
  }

  @Test("Every fault is tried")
  func all() { #expect(Set(Self.shown.map(\.0)) == Set(Fault.allCases)) }
}

/// A case of Fixtures/cases/model/tiny.
private struct Golden {
  let prompt: Prompt
  private let expected: Safetensors
  /// The rows that a tap has in the file, if not all.
  private let rows: JSON?
  private let limit: DistanceLimit

  init(_ name: String) throws {
    let folder = "\(fixtures)/cases/model/tiny/\(name)"
    let json = try JSON(file: "\(folder)/case.json")
    let expected = try Safetensors("\(folder)/expected.safetensors")
    self.expected = expected
    let images = expected.tensors.filter { $0.name.hasPrefix("image") }.sorted { $0.name < $1.name }
    let pixels = images.map { image in
      Pixels(
        height: image.shape[1], width: image.shape[2], values: StoredTensor(image, of: expected.file).vector()
      )
    }
    prompt = Prompt(tokens: try #require(json["expect"]?["tokens"]?.integers), pixels: pixels)
    rows = json["expect"]?["rows"]
    limit = DistanceLimit(relF: try #require(json["compare"]?["float64"]?["relF"]?.double))
  }

  /// Compares what a model with a fault computes with what the oracle did.
  ///
  /// - limit: instead of the case's own for float64.
  func judge(_ fault: Fault?, _ checkpoint: Checkpoint, limit: DistanceLimit? = nil) throws -> Comparison {
    var model = WrongModel(checkpoint, fault)
    model.run(prompt)
    let temporary = try TemporaryFolder()
    let folder = temporary.path
    // The golden's own bytes lie in the order of names.
    try write(
      model.taps.compactMap { tap in expected.tensors.first { $0.name == tap.name } }.map { tensor in
        (tensor.name, tensor.shape, StoredTensor(tensor, of: expected.file).vector())
      }, to: "\(folder)/expected.safetensors")
    try write(
      model.taps.map { name, matrix in
        let kept = rows?[name]?.integers ?? Array(0..<matrix.rows)
        return (name, [kept.count, matrix.columns], kept.flatMap { matrix.row($0) })
      }, to: "\(folder)/found.safetensors")
    return try Comparison(
      reference: TraceFile("\(folder)/expected.safetensors"),
      candidate: TraceFile("\(folder)/found.safetensors"),
      limit: limit ?? self.limit)
  }

  private func write(_ taps: [(name: String, shape: [Int], values: [Double])], to path: String) throws {
    let writer = try SafetensorsWriter(path, taps.map { .init(name: $0.name, dtype: .f64, shape: $0.shape) })
    for tap in taps { try tap.values.withUnsafeBytes { try writer.write($0) } }
    try writer.finish()
  }
}

/// Keeps the values of every tap.
private final class Recorder: TraceRecorder {
  private(set) var taps: [(name: String, values: [Double])] = []

  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) throws {
    taps.append((name, value.values.map(Double.init)))
  }
}
