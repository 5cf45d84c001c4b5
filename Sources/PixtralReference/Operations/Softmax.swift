/// Softmax of `count` values in place: `e^(x − max) / Σ e^(x − max)`. Model.md 3.3.
///
/// The sum is kept in double, so that a long row loses nothing to its length.
func softmax<Scalar: Real>(_ x: UnsafeMutablePointer<Scalar>, count: Int) {
  precondition(count > 0, "softmax of nothing")
  let maximum = largest(x, count)
  for i in 0..<count { x[i] = Scalar.exp(x[i] - maximum) }
  let scale = Scalar(1 / sum(x, count))
  for i in 0..<count { x[i] *= scale }
}

/// Four maxima side by side, so that no comparison waits for the one before it; `sum` does the same.
private func largest<Scalar: Real>(_ x: UnsafePointer<Scalar>, _ count: Int) -> Scalar {
  var (a, b, c, d) = (x[0], x[0], x[0], x[0])
  for i in stride(from: 0, to: count & ~3, by: 4) {
    a = x[i] > a ? x[i] : a
    b = x[i + 1] > b ? x[i + 1] : b
    c = x[i + 2] > c ? x[i + 2] : c
    d = x[i + 3] > d ? x[i + 3] : d
  }
  for i in (count & ~3)..<count { a = x[i] > a ? x[i] : a }
  return max(max(a, b), max(c, d))
}

private func sum<Scalar: Real>(_ x: UnsafePointer<Scalar>, _ count: Int) -> Double {
  var (a, b, c, d) = (0.0, 0.0, 0.0, 0.0)
  for i in stride(from: 0, to: count & ~3, by: 4) {
    a += Double(x[i])
    b += Double(x[i + 1])
    c += Double(x[i + 2])
    d += Double(x[i + 3])
  }
  for i in (count & ~3)..<count { a += Double(x[i]) }
  return (a + b) + (c + d)
}
