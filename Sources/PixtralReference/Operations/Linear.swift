/// `x · Wᵀ (+ bias)`: x is (n, in), W is stored `[out, in]`, the result is (n, out). Model.md, conventions.
///
/// The weight stays where it is, on disk or as a function: a block of its rows at a time is widened to the precision
/// of the run, multiplied and forgotten, so no layer ever holds a widened weight.
func linear<Scalar: Real>(_ x: Matrix<Scalar>, _ weight: Weight, bias: Weight? = nil) -> Matrix<Scalar> {
  precondition(x.columns == weight.columns, "\(weight.name) takes \(weight.columns) columns, not \(x.columns)")
  let blockRows = max(1, min(weight.rows, linearBlockValues / weight.columns))
  var block = [Scalar](unsafeUninitializedCapacity: blockRows * weight.columns) { _, count in
    count = blockRows * weight.columns
  }
  let offsets: [Scalar]? = bias?.vector()

  return Matrix(rows: x.rows, columns: weight.rows) { out in
    x.values.withUnsafeBufferPointer { x_ in
      block.withUnsafeMutableBufferPointer { block in
        for start in stride(from: 0, to: weight.rows, by: blockRows) {
          let rows = start..<min(start + blockRows, weight.rows)
          weight.read(rows, into: block.baseAddress!)
          Scalar.multiply(
            m: x.rows, n: rows.count, k: weight.columns, alpha: 1,
            a: x_.baseAddress!, aStride: x.columns,
            b: block.baseAddress!, bStride: weight.columns, bTransposed: true,
            c: out + start, cStride: weight.rows)
        }
      }
    }
    if let offsets {
      for row in 0..<x.rows {
        for column in 0..<weight.rows { out[row * weight.rows + column] += offsets[column] }
      }
    }
  }
}

/// How many values of a weight are widened at a time: 16 MiB of float32, enough rows for BLAS to run at full speed.
private let linearBlockValues = 1 << 22
