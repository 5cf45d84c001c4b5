import PixtralImage
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

/// A weight whose values are on hand, through a real file.
private func weight(_ shape: [Int], _ values: [Float]) throws -> StoredTensor {
  let folder = try TemporaryFolder()
  var file = TensorFile()
  file.add("w", shape, values)
  let tensors = try Safetensors(folder.write("w.safetensors", file.bytes))
  return try StoredTensor(tensors.tensors[0], of: tensors.file)
}

@Suite("Operations")
struct OperationTests {
  @Test("linear multiplies by the transposed weight")
  func linearTransposes() throws {
    let x = Matrix<Double>([[1, 2], [3, 4]])
    let w = try weight([3, 2], [1, 0, 0, 1, 1, 1])
    #expect(linear(x, w).values == [1, 2, 3, 3, 4, 7])
  }

  @Test("linear adds a bias to every row")
  func linearAddsBias() throws {
    let x = Matrix<Double>([[1], [2]])
    let y = linear(x, try weight([2, 1], [1, 10]), bias: try weight([2], [100, 200]))
    #expect(y.values == [101, 210, 102, 220])
  }

  @Test("RMSNorm divides by the root mean square and subtracts no mean")
  func rmsNormOfOneRow() throws {
    // mean square (9 + 16) / 2 = 12.5; with eps 3.5 the root is 4.
    let y = rmsNorm(Matrix<Double>([[3, 4]]), try weight([2], [1, 2]), epsilon: 3.5)
    #expect(y.values == [0.75, 2])
  }

  /// Sums of 12288 equal squares in float32 would be off by 1e-5.
  @Test func aRowAsWideAsPixtralLargeIsNormedAsExactlyAsAShortOne() throws {
    let width = 12288
    let row = [Float](repeating: 1.1, count: width)
    let ones = try weight([width], [Float](repeating: 1, count: width))
    let y = rmsNorm(Matrix<Float>([row]), ones, epsilon: 0)
    #expect(y.values.allSatisfy { abs($0 - 1) <= 2 * Float(1).ulp })
  }

  @Test("softmax of equal scores is uniform, also where e^x would overflow")
  func softmaxIsStable() {
    var scores: [Float] = [1000, 1000, 1000, 1000]
    var row = scores.mutableSpan
    softmax(&row)
    #expect(scores == [0.25, 0.25, 0.25, 0.25])
  }

  @Test("The float32 exponential is within 2 units in the last place over its whole range")
  func exponential() {
    var worst = (x: Float(0), units: 0.0)
    for step in -87_000...88_000 {
      let x = Float(step) / 1000
      let exact = Double.exp(Double(x))
      let units = abs(Double(Float.exp(x)) - exact) / Double(Float(exact).ulp)
      if !(units <= worst.units) { worst = (x, units.isNaN ? .infinity : units) }
    }
    #expect(worst.units <= 2, "at \(worst.x)")
    #expect(Float.exp(0) == 1)
    #expect(Float.exp(.nan).isNaN)
    #expect(Float.exp(-.infinity) < 1.3e-38)
  }

  @Test("GELU is the exact one, not the tanh approximation")
  func geluIsExact() {
    // gelu(1) = Φ(1) = 0.8413447460685429 (normal distribution); the tanh approximation gives 0.841192.
    let y = gelu(Matrix<Double>([[1, 0, -1]]))
    #expect(abs(y.values[0] - 0.841344746068543) < 1e-15)
    #expect(y.values[1] == 0)
    #expect(abs(y.values[2] + 0.158655253931457) < 1e-15)
  }

  @Test("SwiGLU gates with SiLU")
  func siluProductOfOne() {
    // silu(1) = 1 / (1 + 1/e) = 0.7310585786300049
    let y = siluProduct(gate: Matrix<Double>([[1, 0]]), up: Matrix<Double>([[2, 5]]))
    #expect(abs(y.values[0] - 2 * 0.7310585786300049) < 1e-15)
    #expect(y.values[1] == 0)
  }

  @Test("Rotation turns adjacent pairs of every head by the angle of the row")
  func rotationTurnsAdjacentPairs() {
    // A quarter turn takes (a, b) to (−b, a). Two heads of two columns, one angle.
    let rotation = Rotation<Double>(angles: [[0], [Double.pi / 2]])
    let y = rotation(Matrix([[1, 2, 3, 4], [1, 2, 3, 4]]))
    #expect(y.row(0) == [1, 2, 3, 4])
    for (found, expected) in zip(y.row(1), [-2.0, 1, -4, 3]) { #expect(abs(found - expected) < 1e-15) }
  }

  @Test("2-D positions: even frequencies turn with the row, odd ones with the column, rows first")
  func rotation2D() {
    // head_dim 8, theta 16: frequencies 1, 1/2, 1/4, 1/8. Patch (row 1, column 1) of a 2×2 grid.
    let rotation = Rotation<Double>(grids: [PatchGrid(columns: 2, rows: 2)], theta: 16, headDim: 8)
    let sines = Array(rotation.sine.row(3))
    let expected = Rotation<Double>(angles: [[1, 0.25, 0.5, 0.125]]).sine.values
    #expect(sines == expected)
  }

  @Test("2-D positions restart at 0 in each image")
  func rotationRestarts() {
    let one = PatchGrid(columns: 1, rows: 2)
    let rotation = Rotation<Double>(grids: [one, one], theta: 16, headDim: 4)
    #expect(rotation.sine.row(0) == rotation.sine.row(2))
    #expect(rotation.sine.row(1) == rotation.sine.row(3))
  }

  @Test("A query sees only its own segment")
  func attentionKeepsToSegments() {
    // Equal keys make uniform weights, so a context is the mean of what is seen.
    let q = Matrix<Double>([[1], [1], [1]])
    let v = Matrix<Double>([[1], [3], [10]])
    let context = attention(
      q, q, v, heads: Heads(query: 1, keyValue: 1, dim: 1), segments: [0..<2, 2..<3], causal: false)
    #expect(context.values == [2, 2, 10])
  }

  @Test("A causal query sees itself and what is before it")
  func attentionIsCausal() {
    let q = Matrix<Double>([[1], [1], [1]])
    let v = Matrix<Double>([[1], [3], [11]])
    let context = attention(
      q, q, v, heads: Heads(query: 1, keyValue: 1, dim: 1), segments: [0..<3], causal: true)
    #expect(context.values == [1, 2, 5])
  }

  @Test("Query heads share key-value heads in order: 0 and 1 the first, 2 and 3 the second")
  func attentionGroupsHeads() {
    let q = Matrix<Double>([[1, 1, 1, 1]])
    let kv = Matrix<Double>([[5, 7]])
    let context = attention(
      q, kv, kv, heads: Heads(query: 4, keyValue: 2, dim: 1), segments: [0..<1], causal: true)
    #expect(context.values == [5, 5, 7, 7])
  }

  @Test("Scores are divided by the square root of head_dim and are −∞ where nothing may be seen")
  func attentionMaps() throws {
    let q = Matrix<Double>([[1, 1, 1, 1], [2, 2, 2, 2]])
    let maps = PixtralReference.attentionMaps(
      q, q, heads: Heads(query: 1, keyValue: 1, dim: 4), segments: [0..<2], causal: true)
    #expect(maps.scores.values == [2, -.infinity, 4, 8])
    #expect(maps.weights.values[1] == 0)
  }

  @Test("Blocks of queries do not show: 600 positions give what one block would")
  func attentionInBlocks() {
    let rows = 600
    let x = Matrix<Double>(
      rows: rows, columns: 2, values: (0..<rows * 2).map { Double($0 * 37 % 101) / 50 - 1 })
    let found = attention(
      x, x, x, heads: Heads(query: 1, keyValue: 1, dim: 2), segments: [0..<rows], causal: true)
    for row in [0, 255, 256, 511, 599] {
      var (sum, weighted) = (0.0, [0.0, 0.0])
      for key in 0...row {
        let weight = Double.exp((x[row, 0] * x[key, 0] + x[row, 1] * x[key, 1]) / 2.0.squareRoot())
        sum += weight
        for column in 0..<2 { weighted[column] += weight * x[key, column] }
      }
      for column in 0..<2 { #expect(abs(found[row, column] - weighted[column] / sum) < 1e-13) }
    }
  }
}
