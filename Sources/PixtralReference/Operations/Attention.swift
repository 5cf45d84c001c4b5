/// How the columns of q, k and v divide into heads.
struct Heads: Sendable, Equatable {
  /// Query heads, key-value heads, and columns a head.
  let query, keyValue, dim: Int

  /// Columns of a query head in q and in the context.
  func columns(_ head: Int) -> Range<Int> { head * dim..<(head + 1) * dim }

  /// Columns of the key-value head in k and v that a query head reads: each serves `query /
  /// keyValue` of them.
  func sharedColumns(_ head: Int) -> Range<Int> { columns(head / (query / keyValue)) }
}

/// `softmax(q · kᵀ / sqrt(head_dim)) · v` for each head, heads side by side. Model.md 3.3.
///
/// - q is (n, heads.query · d); k and v are (m, heads.keyValue · d), m ≥ n: the queries are the
///   last n of m positions.
/// - segments: ranges of positions that together are all; a query sees only the keys of its own.
/// - causal: a query sees only itself and the keys before it.
/// - Returns: (n, heads.query · d).
func attention<Scalar: BLASScalar>(
  _ q: Matrix<Scalar>, _ k: Matrix<Scalar>, _ v: Matrix<Scalar>,
  heads: Heads, segments: [Range<Int>], causal: Bool
) -> Matrix<Scalar> {
  let firstQuery = k.rows - q.rows
  check(segments, cover: k.rows)
  let scale = 1 / Scalar(heads.dim).squareRoot()

  return Matrix(rows: q.rows, columns: q.columns) { context in
    for (queries, keys) in blocks(segments, from: firstQuery, causal: causal) {
      let rows = queries.lowerBound - firstQuery..<queries.upperBound - firstQuery
      let seen = queries.map { causal ? $0 + 1 - keys.lowerBound : keys.count }
      inParallel(over: heads.query, by: 1) { head in
        let head = head.lowerBound
        let (own, shared) = (heads.columns(head), heads.sharedColumns(head))
        var scores = Matrix<Scalar>(rows: rows.count, columns: keys.count) {
          multiply(
            q.block(rows: rows, columns: own), transposed: k.block(rows: keys, columns: shared), times: scale,
            into: $0)
        }
        scores.softmaxRows(seen)
        multiply(
          scores.block(), v.block(rows: keys, columns: shared), into: context.region(rows: rows, columns: own)
        )
      }
    }
  }
}

/// What attention shows on demand: (n, heads · m) each; head h is columns h · m ..< (h + 1) · m.
///
/// - Returns: scores, scaled, −∞ where nothing may be seen; weights after softmax, 0 where nothing
///   may be seen.
func attentionMaps<Scalar: BLASScalar>(
  _ q: Matrix<Scalar>, _ k: Matrix<Scalar>, heads: Heads, segments: [Range<Int>], causal: Bool
) -> (scores: Matrix<Scalar>, weights: Matrix<Scalar>) {
  let firstQuery = k.rows - q.rows
  check(segments, cover: k.rows)
  let scale = 1 / Scalar(heads.dim).squareRoot()
  let columns = heads.query * k.rows
  var scores = Matrix<Scalar>(repeating: -.infinity, rows: q.rows, columns: columns)
  var weights = Matrix<Scalar>(repeating: 0, rows: q.rows, columns: columns)
  for (queries, keys) in blocks(segments, from: firstQuery, causal: causal) {
    let rows = queries.lowerBound - firstQuery..<queries.upperBound - firstQuery
    let seen = queries.map { causal ? $0 + 1 - keys.lowerBound : keys.count }
    for head in 0..<heads.query {
      let (own, shared) = (heads.columns(head), heads.sharedColumns(head))
      var block = Matrix<Scalar>(rows: rows.count, columns: keys.count) {
        multiply(
          q.block(rows: rows, columns: own), transposed: k.block(rows: keys, columns: shared), times: scale,
          into: $0)
      }
      let place = (row: rows.lowerBound, column: head * k.rows + keys.lowerBound)
      scores.copy(block, to: place, seen)
      block.softmaxRows(seen)
      weights.copy(block, to: place, seen)
    }
  }
  return (scores, weights)
}

/// Queries and the keys that they may see, block by block.
///
/// A block of queries is scored at a time, so that memory grows with the length of a sequence and
/// not with its square, and the scores of a head stay in the cache until they are used.
private func blocks(
  _ segments: [Range<Int>], from firstQuery: Int, causal: Bool
) -> [(queries: Range<Int>, keys: Range<Int>)] {
  segments.flatMap { segment in
    stride(from: max(segment.lowerBound, firstQuery), to: segment.upperBound, by: 256).map { start in
      let queries = start..<min(start + 256, segment.upperBound)
      return (queries, segment.lowerBound..<(causal ? queries.upperBound : segment.upperBound))
    }
  }
}

private func check(_ segments: [Range<Int>], cover count: Int) {
  var end = 0
  for segment in segments {
    precondition(segment.lowerBound == end, "segments follow one another from 0")
    end = segment.upperBound
  }
  precondition(end == count, "segments cover every position once")
}

extension Matrix {
  /// Softmax over the first `seen` values of each row; the rest become 0.
  fileprivate mutating func softmaxRows(_ seen: [Int]) {
    for (row, count) in seen.enumerated() {
      withRow(row, first: count) { softmax(&$0) }
      for hidden in count..<columns { self[row, hidden] = 0 }
    }
  }

  /// Copies what each row of a block sees to its place in a whole map.
  fileprivate mutating func copy(_ block: Matrix, to place: (row: Int, column: Int), _ seen: [Int]) {
    for (row, count) in seen.enumerated() {
      for column in 0..<count { self[place.row + row, place.column + column] = block[row, column] }
    }
  }
}
