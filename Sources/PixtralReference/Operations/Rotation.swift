import Glibc

/// The rotary angles of a sequence: one row a position, one column a pair of adjacent columns of a
/// head. Model.md 3.2.
///
/// Angles are computed in double in either precision: a float32 angle at position 100,000 would be
/// off by 0.004.
struct Rotation<Scalar: BLASScalar>: Sendable {
  let cosine: Matrix<Scalar>  // (n, head_dim / 2)
  let sine: Matrix<Scalar>  // (n, head_dim / 2)

  init(angles: [[Double]]) {
    let pairs = angles.first?.count ?? 0
    let all = angles.flatMap { $0 }
    cosine = Matrix(rows: angles.count, columns: pairs, values: all.map { Scalar(cos($0)) })
    sine = Matrix(rows: angles.count, columns: pairs, values: all.map { Scalar(sin($0)) })
  }

  /// Turns the pair (2i, 2i+1) of every head of `x` (n, heads · head_dim) by the i-th angle of its
  /// row.
  func callAsFunction(_ x: Matrix<Scalar>) -> Matrix<Scalar> {
    let pairs = cosine.columns
    precondition(
      x.rows == cosine.rows && x.columns % (2 * pairs) == 0, "a rotation made for another sequence")
    return x.mapRows { row, x, out in
      for head in stride(from: 0, to: x.count, by: 2 * pairs) {
        for i in 0..<pairs {
          let (cos, sin) = (cosine[row, i], sine[row, i])
          let (a, b) = (x[head + 2 * i], x[head + 2 * i + 1])
          out[head + 2 * i] = a * cos - b * sin
          out[head + 2 * i + 1] = a * sin + b * cos
        }
      }
    }
  }
}

/// `theta^(−2j / head_dim)` for j in 0 ..< head_dim / 2, in radians a position. The caller says which pair of
/// columns turns with which.
func rotaryFrequencies(theta: Double, headDim: Int) -> [Double] {
  (0..<headDim / 2).map { j in pow(theta, -2 * Double(j) / Double(headDim)) }
}
