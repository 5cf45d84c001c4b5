import PixtralImage
import TestSupport
import Testing

@testable import PixtralReference

/// What rotary positions are for: a product q · k that knows how far apart two rows are, and
/// nothing else of where they are.
@Suite("Rotary positions")
struct RotationProperties {
  static let headDims = [2, 4, 6, 12, 20, 88, 128]

  @Test("Rotated q · k depends on the difference of two positions only", arguments: headDims)
  func differenceOfPositions(headDim: Int) {
    let turned = Turned(Rotation(positions: 0..<3000, theta: 1e6, headDim: headDim))
    var worst = 0.0
    for difference in [0, 1, 7, 255, 256, 1000] {
      for start in stride(from: 1, to: 2000, by: 97) {
        worst = larger(worst, abs(turned.product(start + difference, start) - turned.product(difference, 0)))
      }
    }
    #expect(worst <= 1e-10)
  }

  @Test("Rotated q · k is another for another difference", arguments: headDims)
  func otherDifference(headDim: Int) {
    let turned = Turned(Rotation(positions: 0..<64, theta: 1e6, headDim: headDim))
    #expect(nearestTwo((0..<64).map { turned.product($0, 31) }) > 1e-9)
  }

  @Test(
    "Among patches rotated q · k depends on the differences of rows and of columns only", arguments: headDims)
  func differencesOfRowsAndColumns(headDim: Int) {
    let turned = Turned(Rotation(grids: [PatchGrid(columns: 9, rows: 11)], theta: 1e4, headDim: headDim))
    var known: [[Int]: Double] = [:]  // by the two differences
    var worst = 0.0
    for a in 0..<99 {
      for b in 0..<99 {
        let differences = [a / 9 - b / 9, a % 9 - b % 9]
        let found = turned.product(a, b)
        worst = larger(worst, abs(found - known[differences, default: found]))
        known[differences] = found
      }
    }
    #expect(known.count == 21 * 17)
    #expect(worst <= 1e-12)
  }

  /// With two columns a head there is one angle, and it is the row's.
  @Test("A row more is not a column more, nor a line of columns", arguments: headDims.dropFirst())
  func rowsAreNotColumns(headDim: Int) {
    // Patches 0 to 3 stand at (0, 0), (0, 1), (0, 2) and (1, 0).
    let turned = Turned(Rotation(grids: [PatchGrid(columns: 3, rows: 2)], theta: 1e4, headDim: headDim))
    #expect(nearestTwo((0...3).map { turned.product($0, 0) }) > 1e-6)
  }

  @Test("Rows and columns begin again in each image")
  func eachImageBegins() {
    let grids = [PatchGrid(columns: 2, rows: 3), PatchGrid(columns: 4, rows: 2)]
    let both = Rotation<Double>(grids: grids, theta: 1e4, headDim: 12)
    let second = Rotation<Double>(grids: [grids[1]], theta: 1e4, headDim: 12)
    #expect(both.cosine.rows(6..<14).values == second.cosine.values)
    #expect(both.sine.rows(6..<14).values == second.sine.values)
  }

  @Test("Rotation keeps the length of every pair")
  func lengths() {
    var draw = Draw(seed: 1)
    let x = Matrix(rows: 40, columns: 24, values: (0..<960).map { _ in draw.value() })
    let y = Rotation<Double>(positions: 5..<45, theta: 1e6, headDim: 8)(x)
    var worst = 0.0
    for i in stride(from: 0, to: 960, by: 2) {
      let before = x.values[i] * x.values[i] + x.values[i + 1] * x.values[i + 1]
      let after = y.values[i] * y.values[i] + y.values[i + 1] * y.values[i + 1]
      worst = larger(worst, abs(after / before - 1))
    }
    #expect(worst <= 1e-14)
  }
}

/// One q and one k of a head, of length about 1, turned to stand at every row of a rotation.
private struct Turned {
  private let q, k: Matrix<Double>

  init(_ rotation: Rotation<Double>) {
    let (rows, headDim) = (rotation.cosine.rows, 2 * rotation.cosine.columns)
    var draw = Draw(seed: UInt64(headDim))
    let scale = (3 / Double(headDim)).squareRoot()
    func everywhere() -> Matrix<Double> {
      let row = (0..<headDim).map { _ in scale * draw.value() }
      return Matrix(rows: rows, columns: headDim, values: (0..<rows).flatMap { _ in row })
    }
    q = rotation(everywhere())
    k = rotation(everywhere())
  }

  /// `q · k`, q standing at one row and k at another.
  func product(_ a: Int, _ b: Int) -> Double { zip(q.row(a), k.row(b)).reduce(0) { $0 + $1.0 * $1.1 } }
}

/// The larger of two; NaN is larger than anything.
private func larger(_ a: Double, _ b: Double) -> Double { a.isNaN || b <= a ? a : b }

/// How far apart the nearest two of some values are.
private func nearestTwo(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  return zip(sorted, sorted.dropFirst()).map { $1 - $0 }.min() ?? .infinity
}

extension Draw {
  fileprivate mutating func value() -> Double { Double.random(in: -1...1, using: &self) }
}
