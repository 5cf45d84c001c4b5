/// Softmax of a row in place: `e^(x − max) / Σ e^(x − max)`. Model.md 3.3.
///
/// The sum is kept in double, so that a long row loses nothing to its length.
func softmax<Scalar: BLASScalar>(_ x: inout MutableSpan<Scalar>) {
  precondition(x.count > 0, "softmax of nothing")
  let maximum = largest(x.span)
  for i in x.indices { x[i] = Scalar.exp(x[i] - maximum) }
  let scale = Scalar(1 / sum(x.span, of: { Double($0) }))
  for i in x.indices { x[i] *= scale }
}

/// Four maxima side by side, so that no comparison waits for the one before it; `sum` does the
/// same.
private func largest<Scalar: BLASScalar>(_ x: Span<Scalar>) -> Scalar {
  var (a, b, c, d) = (x[0], x[0], x[0], x[0])
  let quads = x.count & ~3
  for i in stride(from: 0, to: quads, by: 4) {
    a = x[i] > a ? x[i] : a
    b = x[i + 1] > b ? x[i + 1] : b
    c = x[i + 2] > c ? x[i + 2] : c
    d = x[i + 3] > d ? x[i + 3] : d
  }
  for i in quads..<x.count { a = x[i] > a ? x[i] : a }
  return max(max(a, b), max(c, d))
}

/// The sum of `term` over the values of a row, in double, whatever the precision.
@inline(__always)
func sum<Scalar: BLASScalar>(_ x: Span<Scalar>, of term: (Scalar) -> Double) -> Double {
  var (a, b, c, d) = (0.0, 0.0, 0.0, 0.0)
  let quads = x.count & ~3
  for i in stride(from: 0, to: quads, by: 4) {
    a += term(x[i])
    b += term(x[i + 1])
    c += term(x[i + 2])
    d += term(x[i + 3])
  }
  for i in quads..<x.count { a += term(x[i]) }
  return (a + b) + (c + d)
}
