/// What a table says of a tap: summed in double.
package struct TapStatistics: Sendable {
  package let rms: Double
  /// Largest absolute value. NaN if there is a NaN.
  package let max: Double
  package let first: [Double]

  // A recorder is called without its caller knowing its type, so that nothing else would specialise this.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package init<Scalar: BLASScalar>(_ matrix: Matrix<Scalar>) {
    var squares = 0.0
    var largest = 0.0
    for value in matrix.values {
      let value = Double(value)
      squares += value * value
      if value.magnitude > largest || value.isNaN { largest = value.magnitude }
    }
    rms = (squares / Double(Swift.max(1, matrix.values.count))).squareRoot()
    max = largest
    first = matrix.values.prefix(4).map(Double.init)
  }

  /// Those of a digest that was made of the matrix.
  init<Scalar: BLASScalar>(_ matrix: Matrix<Scalar>, _ digest: TapDigest) {
    rms = digest.notFinite == 0 ? digest.rms : .nan
    max = digest.nan > 0 ? .nan : digest.notFinite > 0 ? .infinity : digest.largest
    first = matrix.values.prefix(4).map(Double.init)
  }
}
