/// `x · Wᵀ (+ bias)`: x is (n, in), W is stored `[out, in]`, the result is (n, out). Model.md,
/// conventions.
///
/// The weight stays where it is, on disk or as a function: each thread widens a block of its rows
/// to the precision of the run, multiplies and forgets it, so no layer ever holds a widened weight.
func linear<Scalar: BLASScalar>(
  _ x: Matrix<Scalar>, _ weight: StoredTensor, bias: StoredTensor? = nil
) -> Matrix<Scalar> {
  precondition(
    x.columns == weight.columns, "\(weight.name) takes \(weight.columns) columns, not \(x.columns)")
  let offsets: [Scalar]? = bias?.vector()

  return Matrix(rows: x.rows, columns: weight.rows) { out in
    inParallel(over: weight.rows, by: rowsAtATime(weight)) { rows in
      let block: Matrix<Scalar> = weight.rows(rows)  // (rows of the block, in)
      let part = out.region(columns: rows)  // (n, rows of the block)
      multiply(x.block(), transposed: block.block(), into: part)
      guard let offsets else { return }
      for n in 0..<part.rows {
        part.withRow(n) { row in
          for column in row.indices { row[column] += offsets[rows.lowerBound + column] }
        }
      }
    }
  }
}

/// Rows of a weight that a thread widens at a time: at most 2²² values (16 MiB of float32, enough
/// for BLAS to run at full speed), and cut so that every thread gets as many blocks.
private func rowsAtATime(_ weight: StoredTensor) -> Int {
  let most = max(1, (1 << 22) / weight.columns)
  let blocks = (weight.rows + most - 1) / most
  let even = (blocks + BLAS.threads - 1) / BLAS.threads * BLAS.threads
  return max(1, (weight.rows + even - 1) / even)
}
