import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

/// The operations on random shapes, beside loops that a reader can check against Model.md 3.
///
/// Loops compute in double from the very values that the operation is given. A distance is counted
/// in roundings: 1 is the error that arithmetic of the operation's precision may make (`Bound`).
@Suite("Operations beside three naive loops")
struct OperationProperties {
  static let widths = [1, 3, 5, 16, 37, 255, 256, 257]

  @Test("linear is x · Wᵀ, with and without a bias")
  func linearIsAProduct() {
    #expect(worstOfLinear(Double.self) <= 1)
    #expect(worstOfLinear(Float.self) <= 1)
  }

  private func worstOfLinear<Scalar: BLASScalar>(_: Scalar.Type) -> Worst {
    var draw = Draw(seed: 1)
    // The last weight is widened in several blocks, of rows and of columns.
    let shapes = (0..<60).map { _ in (draw.int(1...9), draw.from(Self.widths), draw.from(Self.widths)) }
    var worst = Worst()
    for (rows, width, out) in shapes + [(2, 2053, 4099)] {
      let x: Matrix<Scalar> = draw.matrix(rows, width)
      let weight = draw.tensor([out, width])
      let bias = draw.bool() ? draw.tensor([out]) : nil
      let found = linear(x, weight, bias: bias)
      let (w, b) = (weight.vector() as [Double], bias?.vector() ?? [Double](repeating: 0, count: out))
      for row in 0..<rows {
        for column in 0..<out {
          var (sum, size) = (b[column], b[column].magnitude)
          for i in 0..<width {
            let term = Double(x[row, i]) * w[column * width + i]
            sum += term
            size += term.magnitude
          }
          worst.add(found[row, column], sum, Bound<Scalar>(roundings: width + 2, size: size)) {
            "(\(rows), \(width)) · (\(out), \(width))ᵀ"
          }
        }
      }
    }
    return worst
  }

  @Test("rmsNorm divides each row by its root mean square, and multiplies by the weight")
  func rmsNormIsRowByRow() {
    #expect(worstOfRMSNorm(Double.self) <= 1)
    #expect(worstOfRMSNorm(Float.self) <= 1)
  }

  private func worstOfRMSNorm<Scalar: BLASScalar>(_: Scalar.Type) -> Worst {
    var draw = Draw(seed: 2)
    var worst = Worst()
    for width in Self.widths {
      for epsilon in [1e-5, 1e-6, 0.5] {
        let x: Matrix<Scalar> = draw.matrix(draw.int(1...5), width)
        let weight = draw.tensor([width])
        let found = rmsNorm(x, weight, epsilon: epsilon)
        let w: [Double] = weight.vector()
        for row in 0..<x.rows {
          var squares = 0.0
          for value in x.row(row) { squares += Double(value) * Double(value) }
          let size = (squares / Double(width) + epsilon).squareRoot()
          for i in 0..<width {
            let expected = Double(x[row, i]) / size * w[i]
            // The sum is in double in either precision.
            let roundings = Scalar.self == Float.self ? 4 : width + 4
            worst.add(found[row, i], expected, Bound<Scalar>(roundings: roundings, size: expected.magnitude))
            {
              "\(width) columns, epsilon \(epsilon)"
            }
          }
        }
      }
    }
    return worst
  }

  @Test("softmax is e^x over the sum of all e^x, as far as e^100 apart")
  func softmaxIsAShare() {
    #expect(worstOfSoftmax(Double.self) <= 1)
    #expect(worstOfSoftmax(Float.self) <= 1)
  }

  private func worstOfSoftmax<Scalar: BLASScalar>(_: Scalar.Type) -> Worst {
    var draw = Draw(seed: 3)
    var worst = Worst()
    for width in Self.widths + [2, 4, 1000] {
      for spread in [0.1, 3, 50] {
        let x: Matrix<Scalar> = draw.matrix(1, width, spread: spread)
        var found = x
        found.withRow(0, first: width) { softmax(&$0) }
        let values = x.values.map(Double.init)
        let maximum = values.max()!
        var sum = 0.0
        for value in values { sum += Double.exp(value - maximum) }
        for i in 0..<width {
          let expected = Double.exp(values[i] - maximum) / sum
          // A rounding of x − max is multiplied by its size.
          let roundings = Int(2 * (maximum - values[i])) + width + 8
          worst.add(found[0, i], expected, Bound<Scalar>(roundings: roundings, size: expected)) {
            "\(width) values of ±\(spread)"
          }
        }
      }
    }
    return worst
  }

  @Test("siluProduct is gate / (1 + e^(−gate)) · up, for gates from −1000 to 1000")
  func siluProductIsExact() {
    #expect(worstOfSiLU(Double.self) <= 1)
    #expect(worstOfSiLU(Float.self) <= 1)
  }

  private func worstOfSiLU<Scalar: BLASScalar>(_: Scalar.Type) -> Worst {
    var draw = Draw(seed: 4)
    var worst = Worst()
    for spread in [0.01, 1, 20, 80, 1000] {
      let (rows, columns) = (draw.int(1...5), draw.from(Self.widths))
      let gate: Matrix<Scalar> = draw.matrix(rows, columns, spread: spread)
      let up: Matrix<Scalar> = draw.matrix(rows, columns)
      let found = siluProduct(gate: gate, up: up)
      for i in found.values.indices {
        let (g, u) = (Double(gate.values[i]), Double(up.values[i]))
        let expected = g / (1 + Double.exp(-g)) * u
        worst.add(found.values[i], expected, Bound<Scalar>(roundings: 8, size: expected.magnitude)) {
          "a gate of \(g)"
        }
      }
    }
    return worst
  }

  @Test("gelu is x times the share of a normal distribution below x")
  func geluIsExact() {
    #expect(worstOfGELU(Double.self) <= 1)
    #expect(worstOfGELU(Float.self) <= 1)
  }

  private func worstOfGELU<Scalar: BLASScalar>(_: Scalar.Type) -> Worst {
    var draw = Draw(seed: 5)
    var worst = Worst()
    for spread in [0.01, 1, 4, 100] {
      let x: Matrix<Scalar> = draw.matrix(draw.int(1...5), draw.from(Self.widths), spread: spread)
      let found = gelu(x)
      for (found, x) in zip(found.values, x.values.map(Double.init)) {
        let expected = x * (1 - Double.erf(-x / 2.0.squareRoot())) / 2
        worst.add(found, expected, Bound<Scalar>(roundings: 4, size: x.magnitude)) { "x of \(x)" }
      }
    }
    return worst
  }

  @Test("attention is the softmax of q · k over what may be seen, times v", arguments: AttentionCase.all)
  func attentionIsAWeightedMean(shape: AttentionCase) {
    #expect(shape.worstOfAttention(Double.self) <= 1)
    #expect(shape.worstOfAttention(Float.self) <= 1)
  }

  @Test(
    "Scores that attention shows are q · k / √d, and −∞ just where nothing may be seen",
    arguments: AttentionCase.small)
  func scoresAreShown(shape: AttentionCase) {
    #expect(shape.worstOfScores(Double.self) <= 1)
    #expect(shape.worstOfScores(Float.self) <= 1)
  }

  @Test(
    "Weights that attention shows, times v, are the context that it gives", arguments: AttentionCase.small)
  func weightsMakeTheContext(shape: AttentionCase) {
    #expect(shape.worstOfWeights(Double.self) <= 1)
    #expect(shape.worstOfWeights(Float.self) <= 1)
  }
}

/// A shape of attention, and what it is in three loops.
struct AttentionCase: CustomTestStringConvertible, Sendable {
  let heads: Heads
  /// Queries are the last of the positions, all unless there is a cache.
  let queries: Int
  let segments: [Range<Int>]
  let causal: Bool

  var positions: Int { segments.last!.upperBound }
  var testDescription: String {
    "\(queries) queries, segments \(segments), \(heads.query) heads on \(heads.keyValue) of \(heads.dim)"
      + (causal ? ", causal" : "")
  }

  /// Small shapes, and blocks of 256 queries with their edges: before, at and behind.
  static let all =
    small
    + [255, 256, 257, 511, 512, 513].map { last in
      AttentionCase(
        heads: Heads(query: 2, keyValue: 1, dim: 3), queries: last, segments: [0..<last], causal: true)
    }
    + [
      AttentionCase(
        heads: Heads(query: 3, keyValue: 3, dim: 2), queries: 771, segments: [0..<257, 257..<258, 258..<771],
        causal: false),
      AttentionCase(
        heads: Heads(query: 4, keyValue: 2, dim: 5), queries: 257, segments: [0..<600], causal: true),
      AttentionCase(
        heads: Heads(query: 1, keyValue: 1, dim: 1), queries: 300, segments: [0..<100, 100..<400],
        causal: true
      ),
    ]

  static let small: [AttentionCase] = {
    var draw = Draw(seed: 6)
    return (0..<24).map { _ in
      let shared = draw.int(1...3)
      var ends = Set((0..<draw.int(1...4)).map { _ in draw.int(1...20) }).sorted()
      if draw.bool() { ends.append(ends.last! + 1) }  // a segment of one
      return AttentionCase(
        heads: Heads(query: shared * draw.int(1...4), keyValue: shared, dim: draw.from([1, 2, 3, 5, 8])),
        queries: draw.bool() ? ends.last! : draw.int(1...ends.last!),
        segments: zip([0] + ends, ends).map { $0..<$1 }, causal: draw.bool())
    }
  }()

  private func inputs<Scalar: BLASScalar>(_: Scalar.Type) -> (
    q: Matrix<Scalar>, k: Matrix<Scalar>, v: Matrix<Scalar>
  ) {
    var draw = Draw(seed: UInt64(queries * 31 + positions))
    return (
      draw.matrix(queries, heads.query * heads.dim, spread: 2),
      draw.matrix(positions, heads.keyValue * heads.dim, spread: 2),
      draw.matrix(positions, heads.keyValue * heads.dim)
    )
  }

  /// Which keys a query sees.
  private func seen(by query: Int) -> Range<Int> {
    let position = positions - queries + query
    let segment = segments.first { $0.contains(position) }!
    return segment.lowerBound..<(causal ? position + 1 : segment.upperBound)
  }

  private func score<Scalar>(_ q: Matrix<Scalar>, _ k: Matrix<Scalar>, _ head: Int, _ query: Int, _ key: Int)
    -> Double
  {
    let shared = head * heads.keyValue / heads.query
    var sum = 0.0
    for i in 0..<heads.dim {
      sum += Double(q[query, head * heads.dim + i]) * Double(k[key, shared * heads.dim + i])
    }
    return sum / Double(heads.dim).squareRoot()
  }

  /// Values of v lie in ±1, scores in ±4 · √d.
  func worstOfAttention<Scalar: BLASScalar>(_: Scalar.Type) -> Worst {
    let (q, k, v) = inputs(Scalar.self)
    let found = attention(q, k, v, heads: heads, segments: segments, causal: causal)
    var worst = Worst()
    for head in 0..<heads.query {
      let shared = head * heads.keyValue / heads.query
      for query in 0..<queries {
        var total = 0.0
        var context = [Double](repeating: 0, count: heads.dim)
        for key in seen(by: query) {
          let weight = Double.exp(score(q, k, head, query, key))
          total += weight
          for i in 0..<heads.dim { context[i] += weight * Double(v[key, shared * heads.dim + i]) }
        }
        for i in 0..<heads.dim {
          worst.add(
            found[query, head * heads.dim + i], context[i] / total, Bound<Scalar>(roundings: 12, size: 1)
          ) {
            "head \(head), query \(query)"
          }
        }
      }
    }
    return worst
  }

  func worstOfScores<Scalar: BLASScalar>(_: Scalar.Type) -> Worst {
    let (q, k, _) = inputs(Scalar.self)
    let found = attentionMaps(q, k, heads: heads, segments: segments, causal: causal).scores
    var worst = Worst()
    for head in 0..<heads.query {
      for query in 0..<queries {
        for key in 0..<positions {
          let visible = seen(by: query).contains(key)
          let expected = visible ? score(q, k, head, query, key) : -.infinity
          let bound = Bound<Scalar>(roundings: heads.dim + 2, size: 4 * Double(heads.dim).squareRoot())
          worst.add(found[query, head * positions + key], expected, bound) {
            "head \(head), query \(query), key \(key)"
          }
        }
      }
    }
    return worst
  }

  func worstOfWeights<Scalar: BLASScalar>(_: Scalar.Type) -> Worst {
    let (q, k, v) = inputs(Scalar.self)
    let weights = attentionMaps(q, k, heads: heads, segments: segments, causal: causal).weights
    let context = attention(q, k, v, heads: heads, segments: segments, causal: causal)
    var worst = Worst()
    for head in 0..<heads.query {
      let shared = head * heads.keyValue / heads.query
      for query in 0..<queries {
        for i in 0..<heads.dim {
          var sum = 0.0
          for key in 0..<positions {
            sum += Double(weights[query, head * positions + key]) * Double(v[key, shared * heads.dim + i])
          }
          worst.add(
            context[query, head * heads.dim + i], sum, Bound<Scalar>(roundings: positions + 1, size: 1)
          ) {
            "head \(head), query \(query)"
          }
        }
      }
    }
    return worst
  }
}

/// The error that so many roundings of values up to a size may make.
private struct Bound<Scalar: BLASScalar> {
  let limit: Double

  init(roundings: Int, size: Double) {
    let unit = Scalar.self == Float.self ? Double(Float.ulpOfOne) : Double.ulpOfOne
    // What float32 cannot tell from nothing, it need not.
    limit = Double(roundings) * unit * size + (Scalar.self == Float.self ? 2e-35 : 0) + .leastNonzeroMagnitude
  }
}

/// The largest error over its bound, and where it is. NaN is larger than anything.
struct Worst: CustomStringConvertible {
  private var ratio = 0.0
  private var place = ""

  fileprivate mutating func add<Scalar>(
    _ found: Scalar, _ expected: Double, _ bound: Bound<Scalar>, _ describe: () -> String
  ) {
    let error = Double(found) == expected ? 0 : (Double(found) - expected).magnitude / bound.limit
    if error <= ratio || ratio.isNaN { return }
    ratio = error
    place = "\(describe()): expected \(expected), found \(found)"
  }

  var description: String { "\(ratio) of the bound at \(place)" }

  static func <= (worst: Worst, limit: Double) -> Bool { worst.ratio <= limit }
}

extension Draw {
  fileprivate mutating func int(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }
  fileprivate mutating func bool() -> Bool { Bool.random(using: &self) }
  fileprivate mutating func from<Value>(_ values: [Value]) -> Value { values.randomElement(using: &self)! }

  fileprivate mutating func matrix<Scalar: BLASScalar>(_ rows: Int, _ columns: Int, spread: Double = 1)
    -> Matrix<Scalar>
  {
    Matrix(
      rows: rows, columns: columns,
      values: (0..<rows * columns).map { _ in Scalar(Double.random(in: -spread...spread, using: &self)) })
  }

  fileprivate mutating func tensor(_ shape: [Int]) -> StoredTensor {
    let values = SeededValues(seed: int(0...9999), name: "drawn", offset: 0.25, scale: 1)
    return StoredTensor(name: "drawn", dtype: .bf16, shape: shape, source: .seeded(values))
  }
}
