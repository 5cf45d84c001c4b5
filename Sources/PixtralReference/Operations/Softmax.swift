/// Softmax of `count` values in place: `e^(x − max) / Σ e^(x − max)`. Model.md 3.3.
///
/// The sum is kept in double, so that a long row loses nothing to its length.
func softmax<Scalar: Real>(_ x: UnsafeMutablePointer<Scalar>, count: Int) {
  precondition(count > 0, "softmax of nothing")
  var maximum = x[0]
  for i in 1..<count where x[i] > maximum { maximum = x[i] }
  var sum = 0.0
  for i in 0..<count {
    x[i] = Scalar.exp(x[i] - maximum)
    sum += Double(x[i])
  }
  let scale = Scalar(1 / sum)
  for i in 0..<count { x[i] *= scale }
}
