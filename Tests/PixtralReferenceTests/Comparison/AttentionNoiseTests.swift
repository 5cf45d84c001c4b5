import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

/// Attention with keys that have a large part in common. It makes the scores large, far beyond those that the
/// limit of the tap was measured with, and cancels in the softmax; its roundings do not. Trace.md, off by
/// themselves.
@Suite("The noise of attention")
struct AttentionNoiseTests {
  private let checkpoint: Checkpoint
  private let golden: ModelCase
  private let folder: TemporaryFolder
  private let tap = "decoder.layers.0.attention.context"

  init() throws {
    checkpoint = try Checkpoint("seeded:tiny")
    golden = try ModelCase("text")
    folder = try TemporaryFolder()
  }

  @Test("A right context in float32 is not off by itself, however large its scores")
  func right() throws {
    let comparison = try compared { attention($0, $1, $2, heads: $3, segments: [0..<$0.rows], causal: true) }
    guard case .off(let off, _) = try comparison.anew(checkpoint) else { throw Unknown() }
    #expect(!off.map(\.name).contains(tap))
  }

  @Test("A context of wrong heads is off by itself, however large its scores")
  func wrong() throws {
    let comparison = try compared { q, k, v, heads in
      let others = Matrix(
        rows: k.rows, columns: k.columns,
        values: (0..<k.rows).flatMap { k.row($0).suffix(heads.dim) + k.row($0).prefix(heads.dim) })
      return attention(q, others, v, heads: heads, segments: [0..<q.rows], causal: true)
    }
    guard case .off(let off, _) = try comparison.anew(checkpoint) else { throw Unknown() }
    #expect(off.map(\.name).contains(tap))
  }

  @Test("The limit of the tap alone would call the right one off")
  func largeScores() throws {
    let (q, k, v, heads) = inputs()
    let single = attention(q, k, v, heads: heads, segments: [0..<q.rows], causal: true)
    let double = attention(
      q.inDouble, k.inDouble, v.inDouble, heads: heads, segments: [0..<q.rows], causal: true)
    var sum = DistanceSum()
    #expect(sum.add(single.inDouble, against: double) == nil)
    let noise = try #require(Noise.ofModels["seeded:tiny"]?.at(tap, .float32)?.relF)
    #expect(sum.finish().relF > 4 * noise)
  }

  /// q, k and v of as many rows as the case has tokens.
  private func inputs() -> (Matrix<Float>, Matrix<Float>, Matrix<Float>, Heads) {
    let heads = checkpoint.parameters.decoderHeads
    var draw = Draw(seed: 12)
    func matrix(_ heads: Int, _ dim: Int, upTo most: Float) -> Matrix<Float> {
      let rows = golden.prompt.tokens.count
      return Matrix(
        rows: rows, columns: heads * dim,
        values: (0..<rows * heads * dim).map { _ in Float.random(in: -most...most, using: &draw) })
    }
    var keys = matrix(heads.keyValue, heads.dim, upTo: 3)
    for n in keys.values.indices { keys.values[n] += (n % heads.dim).isMultiple(of: 3) ? 1000 : -1000 }
    return (
      matrix(heads.query, heads.dim, upTo: 1), keys, matrix(heads.keyValue, heads.dim, upTo: 1), heads
    )
  }

  private func compared(
    _ context: (Matrix<Float>, Matrix<Float>, Matrix<Float>, Heads) -> Matrix<Float>
  ) throws -> Comparison {
    let (q, k, v, heads) = inputs()
    var file = TensorFile()
    let layer = "decoder.layers.0.attention"
    for (name, x) in [
      ("\(layer).q_rotated", q), ("\(layer).k_rotated", k), ("\(layer).v", v),
      (tap, context(q, k, v, heads)),
    ] { file.add(name, [x.rows, x.columns], x.values) }
    return try Comparison(
      reference: TraceFile(golden.folder), candidate: TraceFile(folder.write("a.safetensors", file.bytes)),
      .init(globs: [tap]))
  }

  private struct Unknown: Error {}
}

extension Matrix<Float> {
  fileprivate var inDouble: Matrix<Double> {
    Matrix<Double>(rows: rows, columns: columns, values: values.map { Double($0) })
  }
}
