/// A dense matrix, row after row. One row is a patch, a token or a position; heads are ranges of
/// columns.
public struct Matrix<Scalar: BLASScalar>: Sendable {
  /// Rows: patches, tokens or positions.
  public private(set) var rows: Int
  /// Columns: the width.
  public let columns: Int
  /// `rows · columns` values, row-major.
  public internal(set) var values: [Scalar]

  /// A matrix of given values.
  ///
  /// - Parameters:
  ///   - rows: patches, tokens or positions.
  ///   - columns: the width.
  ///   - values: `rows · columns` of them, row-major.
  public init(rows: Int, columns: Int, values: [Scalar]) {
    precondition(
      values.count == rows * columns, "\(values.count) values for a matrix of \(rows) by \(columns)")
    self.rows = rows
    self.columns = columns
    self.values = values
  }

  /// A matrix of one value.
  init(repeating value: Scalar, rows: Int, columns: Int) {
    self.init(rows: rows, columns: columns, values: [Scalar](repeating: value, count: rows * columns))
  }

  /// The rows of matrices of one width, one after another.
  init(joining parts: [Matrix]) {
    precondition(
      !parts.isEmpty && parts.allSatisfy { $0.columns == parts[0].columns }, "matrices of one width")
    var values: [Scalar] = []
    values.reserveCapacity(parts.reduce(0) { $0 + $1.values.count })
    for part in parts { values += part.values }
    self.init(rows: parts.reduce(0) { $0 + $1.rows }, columns: parts[0].columns, values: values)
  }

  /// A matrix whose every value `fill` sets.
  init(rows: Int, columns: Int, fill: (Region<Scalar>) -> Void) {
    self.rows = rows
    self.columns = columns
    values = [Scalar](unsafeUninitializedCapacity: rows * columns) { buffer, count in
      if rows * columns > 0 {
        fill(Region(start: buffer.baseAddress!, rows: rows, columns: columns, stride: columns))
      }
      count = rows * columns
    }
  }

  /// One value.
  public subscript(row: Int, column: Int) -> Scalar {
    get { values[row * columns + column] }
    set { values[row * columns + column] = newValue }
  }

  /// The values of one row.
  public func row(_ index: Int) -> ArraySlice<Scalar> { values[index * columns..<(index + 1) * columns] }

  /// Some rows as a matrix of their own.
  public func rows(_ range: Range<Int>) -> Matrix {
    if range == 0..<rows { return self }
    let part = values[range.lowerBound * columns..<range.upperBound * columns]
    return Matrix(rows: range.count, columns: columns, values: Array(part))
  }

  /// Adds rows behind the last. Room grows by doubling: a row costs what a row costs.
  mutating func append(_ other: Matrix) {
    precondition(other.columns == columns, "matrices of one width")
    values += other.values
    rows += other.rows
  }

  /// Changes the first `count` values of a row.
  mutating func withRow(_ row: Int, first count: Int, _ body: (inout MutableSpan<Scalar>) -> Void) {
    precondition((0...columns).contains(count), "values of one row")
    let start = row * columns
    values.withUnsafeMutableBufferPointer { values in
      var span = UnsafeMutableBufferPointer(rebasing: values[start..<start + count]).mutableSpan
      body(&span)
    }
  }

  /// A matrix computed row by row: `body(number of the row, the row, the row of the result)`, rows
  /// in parallel.
  func mapRows(_ body: @Sendable (Int, Span<Scalar>, inout MutableSpan<Scalar>) -> Void) -> Matrix {
    Matrix(rows: rows, columns: columns) { out in
      inParallel(over: rows, by: 1 + (1 << 14) / columns) { range in
        for row in range {
          out.withRow(row) { body(row, values.span.extracting(row * columns..<(row + 1) * columns), &$0) }
        }
      }
    }
  }

  /// A matrix computed from this one and another of the same shape, stretch by stretch, in
  /// parallel: `body(mine, theirs, the result)`.
  func combined(
    with other: Matrix, _ body: @Sendable (Span<Scalar>, Span<Scalar>, inout MutableSpan<Scalar>) -> Void
  ) -> Matrix {
    precondition(rows == other.rows && columns == other.columns, "two matrices of one shape")
    return Matrix(rows: rows, columns: columns) { out in
      inParallel(over: values.count, by: 1 << 15) { range in
        out.withStretch(range) {
          body(values.span.extracting(range), other.values.span.extracting(range), &$0)
        }
      }
    }
  }

  /// The sum, value by value.
  public static func + (left: Matrix, right: Matrix) -> Matrix {
    left.combined(with: right) { a, b, out in
      for i in out.indices { out[i] = a[i] + b[i] }
    }
  }
}

/// A part of a matrix to read: some of its rows, and of their columns, such as a head's. Nothing is
/// copied.
struct Block<Scalar: BLASScalar>: Sendable {
  let values: [Scalar]
  let start: Int
  let rows: Int
  let columns: Int
  /// From one row to the next.
  let stride: Int
}

extension Matrix {
  /// Some rows, all if none are named, and of them some columns.
  func block(rows: Range<Int>? = nil, columns: Range<Int>? = nil) -> Block<Scalar> {
    let (rows, columns) = (rows ?? 0..<self.rows, columns ?? 0..<self.columns)
    precondition(
      rows.lowerBound >= 0 && rows.upperBound <= self.rows && columns.lowerBound >= 0
        && columns.upperBound <= self.columns, "a block inside its matrix")
    return Block(
      values: values, start: rows.lowerBound * self.columns + columns.lowerBound, rows: rows.count,
      columns: columns.count, stride: self.columns)
  }
}

/// A part of a matrix in the making, to write. Threads that write to different parts may do so at
/// once.
struct Region<Scalar: BLASScalar>: @unchecked Sendable {
  let start: UnsafeMutablePointer<Scalar>
  let rows: Int
  let columns: Int
  /// From one row to the next.
  let stride: Int

  /// Some rows, all if none are named, and of them some columns.
  func region(rows: Range<Int>? = nil, columns: Range<Int>? = nil) -> Region {
    let (rows, columns) = (rows ?? 0..<self.rows, columns ?? 0..<self.columns)
    precondition(
      rows.lowerBound >= 0 && rows.upperBound <= self.rows && columns.lowerBound >= 0
        && columns.upperBound <= self.columns, "a region inside its matrix")
    return Region(
      start: start + rows.lowerBound * stride + columns.lowerBound, rows: rows.count, columns: columns.count,
      stride: stride)
  }

  /// Changes one row.
  func withRow(_ row: Int, _ body: (inout MutableSpan<Scalar>) -> Void) {
    precondition((0..<rows).contains(row), "a row inside its matrix")
    var span = UnsafeMutableBufferPointer(start: start + row * stride, count: columns).mutableSpan
    body(&span)
  }

  /// Changes some values of a whole matrix, row-major.
  func withStretch(_ range: Range<Int>, _ body: (inout MutableSpan<Scalar>) -> Void) {
    precondition(stride == columns && range.upperBound <= rows * columns, "a stretch inside its matrix")
    var span = UnsafeMutableBufferPointer(start: start + range.lowerBound, count: range.count).mutableSpan
    body(&span)
  }
}
