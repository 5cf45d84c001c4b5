import Synchronization

/// What a digest keeps of a tap's matrix: enough to say how far another is from it. Trace.md,
/// digests.
package struct TapDigest: Sendable, Equatable {
  static let buckets = 512
  static let mostRows = 64

  package let rows: Int
  package let columns: Int
  /// Root mean square of all values, those that are not finite counted as 0.
  package let rms: Double
  /// Largest magnitude of a finite value.
  package let largest: Double
  /// How many values are infinite or NaN.
  package let notFinite: Int
  /// How many of them are NaN.
  package let nan: Int
  /// The norms of `keptRows(of: rows)`.
  let rowNorms: [Float]
  /// A CountSketch: ‖sketch(a) − sketch(e)‖ estimates ‖a − e‖.
  let sketch: [Float]
  /// What the tap was computed in, where a file says it.
  var arithmetic: Arithmetic?

  init(
    rows: Int, columns: Int, rms: Double, largest: Double, notFinite: Int, nan: Int, rowNorms: [Float],
    sketch: [Float]
  ) {
    (self.rows, self.columns, self.rms, self.largest) = (rows, columns, rms, largest)
    (self.notFinite, self.nan, self.rowNorms, self.sketch) = (notFinite, nan, rowNorms, sketch)
  }

  /// Of the whole matrix.
  var norm: Double { rms * Double(rows * columns).squareRoot() }

  /// Up to 64 rows, evenly spaced from the first to the last.
  static func keptRows(of rows: Int) -> [Int] {
    let count = min(rows, mostRows)
    return (0..<count).map { count == 1 ? 0 : $0 * (rows - 1) / (count - 1) }
  }

  /// Of a matrix of which some whole rows, or a part of one, can be had at a time.
  ///
  /// - name: the tap's.
  /// - values: the values of consecutive rows in some columns, called from several threads.
  init<Scalar: BLASScalar>(
    of name: String, rows: Int, columns: Int,
    values: @Sendable (_ rows: Range<Int>, _ columns: Range<Int>) -> [Scalar]
  ) {
    let hash = IndexHash("sketch:\(name)")
    let kept = Self.keptRows(of: rows)
    // Parts of a fixed size, added up in their order: the sums depend on no number of threads.
    let sums = Mutex(SumInOrder(DigestSum(hash, keeping: kept, columns: columns)))
    inParallel(over: rows, by: max(1, (1 << 16) / max(1, columns))) { range in
      var sum = DigestSum(hash, keeping: kept, columns: columns)
      if columns <= Self.mostColumns {
        let block = values(range, 0..<columns)
        for row in range {
          let start = (row - range.lowerBound) * columns
          sum.add(block.span.extracting(start..<start + columns), row: row)
          sum.endRow(row)
        }
      } else {
        for row in range {
          for start in stride(from: 0, to: columns, by: Self.mostColumns) {
            let part = start..<min(start + Self.mostColumns, columns)
            sum.add(values(row..<row + 1, part).span, row: row, from: start)
          }
          sum.endRow(row)
        }
      }
      sums.withLock { [sum] in $0.add(sum, of: range) }
    }
    let total = sums.withLock { $0.total }
    (self.rows, self.columns) = (rows, columns)
    rms = (total.squares / Double(max(1, rows * columns))).squareRoot()
    (largest, notFinite, nan) = (total.largest, total.notFinite, total.nan)
    rowNorms = total.norms
    sketch = total.buckets.map { Float($0) }
  }

  /// How far `found` is from this, estimated: a Distance that is marked so. Its worst row is that of the
  /// kept rows whose norm differs most; no single value is known.
  ///
  /// - Returns: nil if the two do not have as many values that are not finite, or one has NaN.
  func distance(to found: TapDigest) -> Distance? {
    guard nan == 0, found.nan == 0, notFinite == found.notFinite else { return nil }
    var distance = Distance(maxOverRMS: nil, isEstimate: true)
    let difference = zip(sketch, found.sketch).reduce(0) {
      // Sums beyond float32 are infinite on both sides.
      let error = $1.0 == $1.1 ? 0 : Double($1.0) - Double($1.1)
      return $0 + error * error
    }
    distance.relF = difference == 0 ? 0 : difference.squareRoot() / norm
    for (n, row) in Self.keptRows(of: rows).enumerated() {
      let (e, a) = (Double(rowNorms[n]), Double(found.rowNorms[n]))
      let ratio = a == e ? 0 : abs(a - e) / e
      if ratio > distance.worstRow || ratio.isNaN {
        (distance.worstRow, distance.worstRowIndex) = (ratio, row)
      }
    }
    return distance
  }

  package init<Scalar: BLASScalar>(of name: String, _ matrix: Matrix<Scalar>) {
    self.init(of: name, rows: matrix.rows, columns: matrix.columns) { rows, columns in
      let start = rows.lowerBound * matrix.columns + columns.lowerBound
      return Array(matrix.values[start..<start + rows.count * columns.count])
    }
  }

  /// Values of a row that are held at a time.
  private static let mostColumns = 1 << 20
}

/// Parts of a digest that come in any order, added up in theirs: only those that are early wait.
private struct SumInOrder: Sendable {
  private(set) var total: DigestSum
  private var next = 0
  private var waiting: [Int: (end: Int, sum: DigestSum)] = [:]

  init(_ zero: DigestSum) { total = zero }

  mutating func add(_ sum: DigestSum, of rows: Range<Int>) {
    waiting[rows.lowerBound] = (rows.upperBound, sum)
    while let part = waiting.removeValue(forKey: next) {
      total.add(part.sum)
      next = part.end
    }
  }
}

/// The sums of a digest over some rows, in double.
private struct DigestSum: Sendable {
  let hash: IndexHash
  let kept: [Int]
  let columns: Int
  var buckets = [Double](repeating: 0, count: TapDigest.buckets)
  var norms: [Float] = []
  var squares = 0.0
  /// Of the row that has been begun.
  private var rowSquares = 0.0
  var largest = 0.0
  var (notFinite, nan) = (0, 0)

  init(_ hash: IndexHash, keeping kept: [Int], columns: Int) {
    (self.hash, self.kept, self.columns) = (hash, kept, columns)
  }

  /// Adds the next values of a row, which begin at a column.
  // Called for every value of a trace, from a recorder that does not know its type: nothing else would
  // specialise it.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  mutating func add<Scalar: BLASScalar>(_ values: Span<Scalar>, row: Int, from column: Int = 0) {
    let first = row * columns + column
    var (squares, most) = self.squares(of: values)
    // Squares of finite doubles may be infinite too.
    if squares.isFinite {
      sketch(values, from: first)
    } else {
      notFinite += values.indices.count { !values[$0].isFinite }
      nan += values.indices.count { values[$0].isNaN }
      let finite = values.indices.map { values[$0].isFinite ? values[$0] : 0 }
      (squares, most) = self.squares(of: finite.span)
      sketch(finite.span, from: first)
    }
    rowSquares += squares
    largest = max(largest, most)
  }

  mutating func endRow(_ row: Int) {
    squares += rowSquares
    if kept.contains(row) { norms.append(Float(rowSquares.squareRoot())) }
    rowSquares = 0
  }

  /// The sum of the squares, and the largest magnitude.
  @inline(__always)
  private func squares<Scalar: BLASScalar>(of values: Span<Scalar>) -> (sum: Double, largest: Double) {
    // Eight sums, for an addition takes longer than what comes before it.
    var sums = SIMD8<Double>(repeating: 0)
    var largest = SIMD8<Double>(repeating: 0)
    let whole = values.count / 8 * 8
    for start in stride(from: 0, to: whole, by: 8) {
      var eight = SIMD8<Double>(repeating: 0)
      for lane in 0..<8 { eight[lane] = Double(values[start + lane]) }
      sums += eight * eight
      eight.replace(with: -eight, where: eight .< 0)
      largest.replace(with: eight, where: eight .> largest)
    }
    var (sum, most) = (sums.sum(), largest.max())
    for n in whole..<values.count {
      let value = Double(values[n])
      sum += value * value
      most = max(most, value.magnitude)
    }
    return (sum, most)
  }

  /// Adds finite values to the buckets.
  @inline(__always)
  private mutating func sketch<Scalar: BLASScalar>(_ values: Span<Scalar>, from first: Int) {
    var hashes = InlineArray<256, UInt32>(repeating: 0)
    var start = 0
    while start < values.count {
      let count = min(hashes.count, values.count - start)
      let index = UInt32(truncatingIfNeeded: first + start)
      // All hashes first, in vectors.
      for n in 0..<count { hashes[n] = hash(index &+ UInt32(truncatingIfNeeded: n)) }
      for n in 0..<count {
        let bucket = Int(hashes[n] & 511)
        // Bit 9 of the hash becomes the sign.
        let flip = UInt64(hashes[n] & 512) << 54
        buckets[bucket] += Double(bitPattern: Double(values[start + n]).bitPattern ^ flip)
      }
      start += count
    }
  }

  mutating func add(_ part: DigestSum) {
    for n in buckets.indices { buckets[n] += part.buckets[n] }
    norms += part.norms
    squares += part.squares
    largest = max(largest, part.largest)
    notFinite += part.notFinite
    nan += part.nan
  }
}
