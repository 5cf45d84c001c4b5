/// `silu(gate) · up`, `silu(x) = x / (1 + e^(−x))`. Model.md 3.4.
func siluProduct<Scalar: Real>(gate: Matrix<Scalar>, up: Matrix<Scalar>) -> Matrix<Scalar> {
  gate.combined(with: up) { gate, up, out, count in
    for i in 0..<count { out[i] = gate[i] / (1 + Scalar.exp(-gate[i])) * up[i] }
  }
}

/// `x · (1 + erf(x / √2)) / 2`, the exact one. Model.md 3.5.
func gelu<Scalar: Real>(_ x: Matrix<Scalar>) -> Matrix<Scalar> {
  let columns = x.columns
  return x.mapRows { _, row, out in
    for i in 0..<columns { out[i] = row[i] * (1 + Scalar.erf(row[i] * Scalar(0.5).squareRoot())) / 2 }
  }
}
