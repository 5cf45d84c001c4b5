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
/// - q is (n, heads.query · d); k and v are (m, heads.keyValue · d), m ≥ n: the queries are the last
///   n of m positions.
/// - segments: ranges of positions that together are all; a query sees only the keys of its own.
/// - causal: a query sees only itself and the keys before it.
/// - Returns: (n, heads.query · d).
func attention<Scalar: BLASScalar>(
  _ q: Matrix<Scalar>, _ k: Matrix<Scalar>, _ v: Matrix<Scalar>,
  heads: Heads, segments: [Range<Int>], causal: Bool
) -> Matrix<Scalar> {
  Matrix(rows: q.rows, columns: q.columns) { context in
    for block in blocks(queries: q.rows, keys: k.rows, segments: segments, causal: causal) {
      inParallel(over: heads.query, by: 1) { head in
        let head = head.lowerBound
        var scores = scaledScores(q, k, head, of: heads, block)  // (queries of the block, keys)
        scores.softmaxRows(block.seen)
        multiply(
          scores.block(), v.block(rows: block.keys, columns: heads.sharedColumns(head)),
          into: context.region(rows: block.queries, columns: heads.columns(head)))
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
  let columns = heads.query * k.rows
  var maps = (
    scores: Matrix<Scalar>(repeating: -.infinity, rows: q.rows, columns: columns),
    weights: Matrix<Scalar>(repeating: 0, rows: q.rows, columns: columns)
  )
  for block in blocks(queries: q.rows, keys: k.rows, segments: segments, causal: causal) {
    for head in 0..<heads.query {
      let place = (row: block.queries.lowerBound, column: head * k.rows + block.keys.lowerBound)
      var scores = scaledScores(q, k, head, of: heads, block)
      maps.scores.copy(scores, to: place, block.seen)
      scores.softmaxRows(block.seen)
      maps.weights.copy(scores, to: place, block.seen)
    }
  }
  return maps
}

/// `q · kᵀ / sqrt(head_dim)` of one head: (queries of the block, its keys).
private func scaledScores<Scalar: BLASScalar>(
  _ q: Matrix<Scalar>, _ k: Matrix<Scalar>, _ head: Int, of heads: Heads, _ block: QueryBlock
) -> Matrix<Scalar> {
  Matrix(rows: block.queries.count, columns: block.keys.count) {
    multiply(
      q.block(rows: block.queries, columns: heads.columns(head)),
      transposed: k.block(rows: block.keys, columns: heads.sharedColumns(head)),
      times: 1 / Scalar(heads.dim).squareRoot(), into: $0)
  }
}

/// The mask: some queries, and the keys that each of them may see. No matrix is made of it.
private struct QueryBlock {
  /// Rows of q.
  let queries: Range<Int>
  /// Rows of k and v.
  let keys: Range<Int>
  /// How many of these keys, from the first on, each query may see.
  let seen: [Int]
}

/// All queries, a block at a time, so that memory grows with the length of a sequence and not with
/// its square, and the scores of a head stay in the cache until they are used.
private func blocks(queries: Int, keys: Int, segments: [Range<Int>], causal: Bool) -> [QueryBlock] {
  check(segments, cover: keys)
  let first = keys - queries  // the position of the first query
  let most = 256
  return segments.flatMap { segment in
    stride(from: max(segment.lowerBound, first), to: segment.upperBound, by: most).map { start in
      let positions = start..<min(start + most, segment.upperBound)
      let visible = segment.lowerBound..<(causal ? positions.upperBound : segment.upperBound)
      return QueryBlock(
        queries: positions.lowerBound - first..<positions.upperBound - first, keys: visible,
        seen: positions.map { causal ? $0 + 1 - visible.lowerBound : visible.count })
    }
  }
}

/// Segments of these lengths, one after another.
func segments(of lengths: [Int]) -> [Range<Int>] {
  var end = 0
  return lengths.map { length in
    defer { end += length }
    return end..<end + length
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
