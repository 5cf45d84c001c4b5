import Glibc
import PixtralImage

@testable import PixtralReference

/// A mistake of Docs/Faults.md, or one as near as a run of the model itself can make it.
enum Fault: String, Sendable, CaseIterable {
  // The vision encoder.
  case maskDropped, positionsNumbered, axesSwapped, sameFrequencies, halvesRotated, gatedByGELU,
    gateAndUpSwapped
  case visionEpsilon
  // The adapter, and between image and text.
  case tanhGELU, breakTokens12And13, rowsAtBreaks
  // The decoder.
  case decoderEpsilon, keysPermuted, keyHeadsTiled, theta1e9, futureSeen, tiedHead
}

/// Pixtral, put together from its operations once more, with a mistake on purpose. Without one it
/// is the model.
struct WrongModel {
  let checkpoint: Checkpoint
  let fault: Fault?
  /// In the order of computation.
  private(set) var taps: [(name: String, matrix: Matrix<Double>)] = []

  private var parameters: Parameters { checkpoint.parameters }
  private var vision: Parameters.Vision { checkpoint.parameters.vision }

  init(_ checkpoint: Checkpoint, _ fault: Fault?) {
    self.checkpoint = checkpoint
    self.fault = fault
  }

  mutating func run(_ prompt: Prompt) throws {
    let pixels = try prompt.pixels
    let features = pixels.isEmpty ? nil : encode(pixels)
    var x = tap("decoder.embeddings", embed(prompt.tokens, features))
    let rotation = Rotation<Double>(
      positions: 0..<x.rows, theta: fault == .theta1e9 ? 1e9 : parameters.ropeTheta,
      headDim: parameters.headDim)
    for n in 0..<parameters.layers {
      x = layer(
        x, "decoder.layers.\(n)", "layers.\(n)", parameters.decoderHeads, rotation, segments: [0..<x.rows],
        causal: fault != .futureSeen, epsilon: decoderEpsilon)
    }
    x = tap("decoder.norm", rmsNorm(x, tensor("norm"), epsilon: decoderEpsilon))
    _ = tap("logits", linear(x, tensor(fault == .tiedHead ? "tok_embeddings" : "output")))
  }

  private var decoderEpsilon: Double { fault == .decoderEpsilon ? 1e-6 : parameters.normEpsilon }

  /// Pixels to the adapter's rows.
  private mutating func encode(_ pixels: [Pixels]) -> Matrix<Double> {
    let grids = pixels.map { $0.grid(patchSize: vision.patchSize) }
    var x = tap(
      "vision.patch_conv",
      linear(
        flattenedPatches(of: grids, patchSize: vision.patchSize) { pixels[$0] },
        tensor("vision_encoder.patch_conv")))
    let epsilon = fault == .visionEpsilon ? 1e-6 : vision.normEpsilon
    x = tap("vision.ln_pre", rmsNorm(x, tensor("vision_encoder.ln_pre"), epsilon: epsilon))
    let ends = grids.indices.map { grids[...$0].reduce(0) { $0 + $1.patches } }
    let segments = fault == .maskDropped ? [0..<x.rows] : zip([0] + ends, ends).map { $0..<$1 }
    for n in 0..<vision.layers {
      x = layer(
        x, "vision.layers.\(n)", "vision_encoder.transformer.layers.\(n)", parameters.visionHeads,
        Rotation(angles: angles(grids)), segments: segments, causal: false, epsilon: epsilon)
    }
    x = tap("adapter.w_in", linear(x, tensor("vision_language_adapter.w_in")))
    x = tap("adapter.gelu", fault == .tanhGELU ? tanhGELU(x) : gelu(x))
    return tap("adapter.w_out", linear(x, tensor("vision_language_adapter.w_out")))
  }

  private func angles(_ grids: [PatchGrid]) -> [[Double]] {
    let all = rotaryFrequencies(theta: vision.ropeTheta, headDim: vision.headDim)
    let even = stride(from: 0, to: all.count, by: 2).map { all[$0] }
    let odd = fault == .sameFrequencies ? even : stride(from: 1, to: all.count, by: 2).map { all[$0] }
    var places = grids.flatMap { grid in (0..<grid.patches).map { ($0 / grid.columns, $0 % grid.columns) } }
    if fault == .positionsNumbered {
      places = places.indices.map { $0.quotientAndRemainder(dividingBy: 64) }.map {
        ($0.quotient, $0.remainder)
      }
    }
    if fault == .axesSwapped { places = places.map { ($0.1, $0.0) } }
    return places.map { row, column in even.map { Double(row) * $0 } + odd.map { Double(column) * $0 } }
  }

  private func embed(_ tokens: [Int], _ features: Matrix<Double>?) -> Matrix<Double> {
    let (line, end) = (vision.imageBreakToken, vision.imageEndToken)
    let given = fault == .breakTokens12And13 ? tokens.map { $0 == line ? 12 : $0 == end ? 13 : $0 } : tokens
    var x = splicedEmbeddings(
      given, imageRows: features, table: checkpoint.tensor("tok_embeddings.weight"),
      imageToken: vision.imageToken)
    if fault == .rowsAtBreaks {
      for (n, token) in tokens.enumerated() where token == line || token == end {
        for column in 0..<x.columns { x[n, column] = x[n - 1, column] }
      }
    }
    return x
  }

  private mutating func layer(
    _ x: Matrix<Double>, _ name: String, _ prefix: String, _ heads: Heads, _ rotation: Rotation<Double>,
    segments: [Range<Int>], causal: Bool, epsilon: Double
  ) -> Matrix<Double> {
    let ofDecoder = prefix.hasPrefix("layers.")
    func product(_ x: Matrix<Double>, _ weight: String) -> Matrix<Double> {
      linear(x, tensor("\(prefix).\(weight)"))
    }

    let normed = tap(
      "\(name).attention_norm", rmsNorm(x, tensor("\(prefix).attention_norm"), epsilon: epsilon))
    let q = tap("\(name).attention.q", product(normed, "attention.wq"))
    var k = product(normed, "attention.wk")
    if fault == .keysPermuted && ofDecoder { k = k.columns { halfSplitRow($0, headRows: heads.dim) } }
    k = tap("\(name).attention.k", k)
    let v = tap("\(name).attention.v", product(normed, "attention.wv"))
    let qRotated = tap("\(name).attention.q_rotated", rotate(q, rotation, heads.dim))
    let kRotated = tap("\(name).attention.k_rotated", rotate(k, rotation, heads.dim))

    var (seenHeads, keys, values) = (heads, kRotated, v)
    if fault == .keyHeadsTiled {
      // Query head h reads key-value head h % G, of as many heads as there are queries.
      seenHeads = Heads(query: heads.query, keyValue: heads.query, dim: heads.dim)
      let width = heads.query * heads.dim
      (keys, values) = (keys.columns(width) { $0 % k.columns }, values.columns(width) { $0 % v.columns })
    }
    let context = tap(
      "\(name).attention.context",
      attention(qRotated, keys, values, heads: seenHeads, segments: segments, causal: causal))
    let residual = tap(
      "\(name).residual", x + tap("\(name).attention.output", product(context, "attention.wo")))

    let ffnNormed = tap("\(name).ffn_norm", rmsNorm(residual, tensor("\(prefix).ffn_norm"), epsilon: epsilon))
    let swapped = fault == .gateAndUpSwapped
    let gate = tap("\(name).feed_forward.gate", product(ffnNormed, "feed_forward.\(swapped ? "w3" : "w1")"))
    let up = tap("\(name).feed_forward.up", product(ffnNormed, "feed_forward.\(swapped ? "w1" : "w3")"))
    let hidden = fault == .gatedByGELU && !ofDecoder ? gelu(gate) * up : siluProduct(gate: gate, up: up)
    let output = product(tap("\(name).feed_forward.hidden", hidden), "feed_forward.w2")
    return tap("\(name).output", residual + tap("\(name).feed_forward.output", output))
  }

  /// Adjacent pairs; or columns i and i + d/2, on weights that were made for adjacent pairs.
  private func rotate(_ x: Matrix<Double>, _ rotation: Rotation<Double>, _ headDim: Int) -> Matrix<Double> {
    if fault != .halvesRotated { return rotation(x) }
    let paired = (0..<x.columns).map { halfSplitRow($0, headRows: headDim) }  // pair i stands at 2i, 2i + 1
    let places = paired.indices.map { paired.firstIndex(of: $0)! }
    return rotation(x.columns { places[$0] }).columns { paired[$0] }
  }

  private mutating func tap(_ name: String, _ value: Matrix<Double>) -> Matrix<Double> {
    taps.append((name, value))
    return value
  }

  private func tensor(_ name: String) -> StoredTensor { checkpoint.tensor("\(name).weight") }
}

private func tanhGELU(_ x: Matrix<Double>) -> Matrix<Double> {
  let values = x.values.map {
    $0 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) / 2
  }
  return Matrix(rows: x.rows, columns: x.columns, values: values)
}

private func * (a: Matrix<Double>, b: Matrix<Double>) -> Matrix<Double> {
  Matrix(rows: a.rows, columns: a.columns, values: zip(a.values, b.values).map { $0 * $1 })
}

extension Matrix {
  /// Other columns of this matrix, as many as it has if nothing else is said.
  fileprivate func columns(_ count: Int? = nil, _ source: (Int) -> Int) -> Matrix {
    let sources = (0..<(count ?? columns)).map(source)
    return Matrix(
      rows: rows, columns: sources.count, values: (0..<rows).flatMap { row in sources.map { self[row, $0] } })
  }
}
