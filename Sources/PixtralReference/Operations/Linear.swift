/// `x · Wᵀ (+ bias)`: x is (n, in), W is stored `[out, in]`, the result is (n, out). Model.md,
/// conventions.
///
/// The weight stays where it is, on disk or as a function: each thread widens a block of it to the
/// precision of the run, multiplies and forgets it, so no layer ever holds a widened weight, and
/// no block leaves the processor's caches.
func linear<Scalar: BLASScalar>(
  _ x: Matrix<Scalar>, _ weight: StoredTensor, bias: StoredTensor? = nil
) -> Matrix<Scalar> {
  precondition(
    x.columns == weight.columns, "\(weight.name) takes \(weight.columns) columns, not \(x.columns)")
  let offsets: [Scalar]? = bias?.vector()

  return Matrix(rows: x.rows, columns: weight.rows) { out in
    inParallel(over: weight.rows, by: rowsAtATime(weight)) { rows in
      let part = out.region(columns: rows)  // (n, rows of the block)
      for start in stride(from: 0, to: weight.columns, by: WeightBlock.columns) {
        let columns = start..<min(start + WeightBlock.columns, weight.columns)
        let block: Matrix<Scalar> = weight.block(rows: rows, columns: columns)
        multiply(
          x.block(columns: columns), transposed: block.block(), adding: start > 0, into: part)
      }
      weight.forget(rows: rows)
      guard let offsets else { return }
      for n in 0..<part.rows {
        part.withRow(n) { row in
          for column in row.indices { row[column] += offsets[rows.lowerBound + column] }
        }
      }
    }
  }
}

/// What a thread widens of a weight at a time: at most 512 by 512 values, 1 MiB of float32. A larger
/// block would go to memory and come back; of a lower one BLAS would copy x too often, of a narrower
/// one it would read and write the result too often.
package enum WeightBlock {
  package static let rows = 512
  package static let columns = 512
}

/// Rows of a block, cut so that every thread gets as many blocks.
private func rowsAtATime(_ weight: StoredTensor) -> Int {
  let blocks = (weight.rows + WeightBlock.rows - 1) / WeightBlock.rows
  let even = (blocks + BLAS.threads - 1) / BLAS.threads * BLAS.threads
  return max(1, (weight.rows + even - 1) / even)
}
