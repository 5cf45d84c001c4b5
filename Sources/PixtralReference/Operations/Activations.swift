/// `silu(gate) · up`, `silu(x) = x / (1 + e^(−x))`. Model.md 3.4.
func siluProduct<Scalar: BLASScalar>(gate: Matrix<Scalar>, up: Matrix<Scalar>) -> Matrix<Scalar> {
  gate.combined(with: up) { gate, up, out in
    for i in out.indices { out[i] = gate[i] / (1 + Scalar.exp(-gate[i])) * up[i] }
  }
}

/// `x · (1 + erf(x / √2)) / 2`, the exact one; the form with tanh is A-tanh. Model.md 3.5.
func gelu<Scalar: BLASScalar>(_ x: Matrix<Scalar>) -> Matrix<Scalar> {
  x.mapRows { _, row, out in
    for i in out.indices { out[i] = row[i] * (1 + Scalar.erf(row[i] * Scalar(0.5).squareRoot())) / 2 }
  }
}
