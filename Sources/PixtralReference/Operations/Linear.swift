/// `x · Wᵀ (+ bias)`: x is (n, in), W is stored `[out, in]`, the result is (n, out). Model.md, conventions.
///
/// The weight stays where it is, on disk or as a function: each thread widens a block of its rows to the precision of the
/// run, multiplies and forgets it, so no layer ever holds a widened weight.
func linear<Scalar: Real>(_ x: Matrix<Scalar>, _ weight: Weight, bias: Weight? = nil) -> Matrix<Scalar> {
  precondition(x.columns == weight.columns, "\(weight.name) takes \(weight.columns) columns, not \(x.columns)")
  let offsets: [Scalar]? = bias?.vector()
  let columns = weight.rows
  let step = rowsAtATime(weight)

  return Matrix(rows: x.rows, columns: columns) { out in
    let out = Shared(out)
    inParallel(over: columns, by: step) { rows in
      let block = [Scalar](unsafeUninitializedCapacity: rows.count * weight.columns) { buffer, count in
        weight.read(rows, into: buffer.baseAddress!)
        count = rows.count * weight.columns
      }
      Scalar.multiply(
        m: x.rows, n: rows.count, k: weight.columns, alpha: 1,
        a: x.values, aStride: x.columns,
        b: block, bStride: weight.columns, bTransposed: true,
        c: out.pointer + rows.lowerBound, cStride: columns)
      guard let offsets else { return }
      for row in 0..<x.rows {
        for column in rows { out.pointer[row * columns + column] += offsets[column] }
      }
    }
  }
}

/// Rows of a weight that a thread widens at a time: at most 2²¹ values (8 MiB of float32, enough for BLAS to run at full speed), and cut so that
/// every thread gets as many blocks.
private func rowsAtATime(_ weight: Weight) -> Int {
  let most = max(1, (1 << 22) / weight.columns)
  let blocks = (weight.rows + most - 1) / most
  let even = (blocks + BLAS.threads - 1) / BLAS.threads * BLAS.threads
  return max(1, (weight.rows + even - 1) / even)
}
