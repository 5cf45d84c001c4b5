/// A dense matrix, row after row. One row is a patch, a token or a position; heads are ranges of columns.
public struct Matrix<Scalar: Real>: Sendable {
  public let rows: Int
  public let columns: Int
  /// `rows · columns` values, row-major.
  public var values: [Scalar]

  public init(rows: Int, columns: Int, values: [Scalar]) {
    precondition(values.count == rows * columns, "\(values.count) values for a matrix of \(rows) by \(columns)")
    self.rows = rows
    self.columns = columns
    self.values = values
  }

  /// A matrix whose every value `fill` sets; the pointer it gets is to uninitialised row-major memory.
  init(rows: Int, columns: Int, fill: (UnsafeMutablePointer<Scalar>) -> Void) {
    self.rows = rows
    self.columns = columns
    self.values = [Scalar](unsafeUninitializedCapacity: rows * columns) { buffer, count in
      if rows * columns > 0 { fill(buffer.baseAddress!) }
      count = rows * columns
    }
  }

  public subscript(row: Int, column: Int) -> Scalar {
    get { values[row * columns + column] }
    set { values[row * columns + column] = newValue }
  }

  public func row(_ index: Int) -> ArraySlice<Scalar> { values[index * columns..<(index + 1) * columns] }

  /// A row computed from each row: `body(row index, input row, output row)`, rows in parallel.
  func mapRows(
    _ body: @Sendable (Int, UnsafePointer<Scalar>, UnsafeMutablePointer<Scalar>) -> Void
  ) -> Matrix {
    Matrix(rows: rows, columns: columns) { out in
      let target = Shared(out)
      values.withUnsafeBufferPointer { source in
        let from = Shared(reading: source.baseAddress!)
        inParallel(over: rows, by: 1 + (1 << 14) / columns) { range in
          for row in range { body(row, from.pointer + row * columns, target.pointer + row * columns) }
        }
      }
    }
  }

  /// A matrix computed from this one and another of the same shape, stretch by stretch: `body(mine, theirs, out, count)`, in parallel.
  func combined(
    with other: Matrix,
    _ body: @Sendable (UnsafePointer<Scalar>, UnsafePointer<Scalar>, UnsafeMutablePointer<Scalar>, Int) -> Void
  ) -> Matrix {
    precondition(rows == other.rows && columns == other.columns, "two matrices of one shape")
    return Matrix(rows: rows, columns: columns) { out in
      let target = Shared(out)
      values.withUnsafeBufferPointer { left in
        other.values.withUnsafeBufferPointer { right in
          let (a, b) = (Shared(reading: left.baseAddress!), Shared(reading: right.baseAddress!))
          inParallel(over: values.count, by: 1 << 15) { range in
            let start = range.lowerBound
            body(a.pointer + start, b.pointer + start, target.pointer + start, range.count)
          }
        }
      }
    }
  }

  public static func + (left: Matrix, right: Matrix) -> Matrix {
    left.combined(with: right) { a, b, out, count in
      for i in 0..<count { out[i] = a[i] + b[i] }
    }
  }
}
