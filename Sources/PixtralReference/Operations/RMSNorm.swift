/// `x / sqrt(mean(x²) + eps) · w`, each row on its own. Model.md 3.1.
///
/// The sum is kept in double, so that a wide row loses nothing to its width.
func rmsNorm<Scalar: BLASScalar>(
  _ x: Matrix<Scalar>, _ weight: StoredTensor, epsilon: Double
) -> Matrix<Scalar> {
  precondition(weight.rows == x.columns, "\(weight.name) has \(weight.rows) values, not \(x.columns)")
  let w: [Scalar] = weight.vector()
  return x.mapRows { _, row, out in
    let meanSquare = sum(row, of: { Double($0) * Double($0) }) / Double(row.count)
    let scale = Scalar(1 / (meanSquare + epsilon).squareRoot())
    for i in out.indices { out[i] = row[i] * scale * w[i] }
  }
}
