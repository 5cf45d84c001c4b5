/// `x / sqrt(mean(x²) + eps) · w`, each row on its own. Model.md 3.1.
func rmsNorm<Scalar: Real>(_ x: Matrix<Scalar>, _ weight: Weight, epsilon: Double) -> Matrix<Scalar> {
  precondition(weight.rows == x.columns, "\(weight.name) has \(weight.rows) values, not \(x.columns)")
  let w: [Scalar] = weight.vector()
  let columns = x.columns
  return x.mapRows { _, row, out in
    let meanSquare = sumOfSquares(row, columns) / Scalar(columns)
    let scale = 1 / (meanSquare + Scalar(epsilon)).squareRoot()
    for i in 0..<columns { out[i] = row[i] * scale * w[i] }
  }
}

/// Eight partial sums rather than one: closer to the exact sum in float32, and several additions under way at once.
private func sumOfSquares<Scalar: Real>(_ x: UnsafePointer<Scalar>, _ count: Int) -> Scalar {
  var partial = SIMD8<Scalar>(repeating: 0)
  for start in stride(from: 0, to: count & ~7, by: 8) {
    let part = UnsafeRawPointer(x + start).loadUnaligned(as: SIMD8<Scalar>.self)
    partial += part * part
  }
  var sum: Scalar = 0
  for lane in 0..<8 { sum += partial[lane] }
  for i in (count & ~7)..<count { sum += x[i] * x[i] }
  return sum
}
