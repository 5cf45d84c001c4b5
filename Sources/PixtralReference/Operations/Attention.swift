import Synchronization

/// How the columns of q, k and v divide into heads.
public struct Heads: Sendable, Equatable {
  /// Query heads, key-value heads, and columns a head.
  let query, keyValue, dim: Int
}

/// What attention shows on demand: (queries, heads · keys) each; head h is columns h · keys ..< (h + 1) · keys.
struct AttentionMaps<Scalar: Real>: Sendable {
  /// Scaled; −∞ where nothing may be seen.
  var scores: Matrix<Scalar>
  /// After softmax; 0 where nothing may be seen.
  var weights: Matrix<Scalar>

  init(queries: Int, keys: Int, heads: Heads) {
    let columns = heads.query * keys
    scores = Matrix(
      rows: queries, columns: columns, values: [Scalar](repeating: -.infinity, count: queries * columns))
    weights = Matrix(rows: queries, columns: columns, values: [Scalar](repeating: 0, count: queries * columns))
  }
}

/// `softmax(q · kᵀ / sqrt(head_dim)) · v` for each head, heads side by side. Model.md 3.3.
///
/// - q is (n, heads.query · d); k and v are (m, heads.keyValue · d), m ≥ n: the queries are the last n of m positions.
/// - `segments`: ranges of positions; a query sees only the keys of its own segment.
/// - `causal`: a query sees only itself and the keys before it.
/// - `maps`: filled with scores and weights if there.
func attention<Scalar: Real>(
  _ q: Matrix<Scalar>, _ k: Matrix<Scalar>, _ v: Matrix<Scalar>,
  heads: Heads, segments: [Range<Int>], causal: Bool, maps: inout AttentionMaps<Scalar>?
) -> Matrix<Scalar> {
  let keys = k.rows
  let firstQuery = keys - q.rows
  precondition(segments.reduce(0) { $0 + $1.count } == keys, "segments cover every position once")
  let scale = 1 / Scalar(heads.dim).squareRoot()

  return Matrix(rows: q.rows, columns: q.columns) { context in
    let out = Shared(context)
    for segment in segments {
      let queries = max(segment.lowerBound, firstQuery)..<max(segment.upperBound, firstQuery)
      for start in stride(from: queries.lowerBound, to: queries.upperBound, by: queriesAtATime) {
        let block = start..<min(start + queriesAtATime, queries.upperBound)
        let visible = segment.lowerBound..<(causal ? block.upperBound : segment.upperBound)
        let seen = block.map { causal ? $0 + 1 - visible.lowerBound : visible.count }

        let kept = Mutex(maps)
        maps = nil
        inParallel(over: heads.query, by: 1) { head in
          let head = head.lowerBound
          let shared = head / (heads.query / heads.keyValue)
          let queryAt = (block.lowerBound - firstQuery) * q.columns + head * heads.dim
          let keyAt = visible.lowerBound * k.columns + shared * heads.dim

          // (queries of the block, visible keys)
          var scores = product(
            alpha: scale, rows: block.count, columns: visible.count, inner: heads.dim,
            q.values, at: queryAt, stride: q.columns, k.values, at: keyAt, stride: k.columns)
          let place = (row: block.lowerBound - firstQuery, column: head * keys + visible.lowerBound)
          kept.withLock { $0?.scores.keep(scores, at: place, seen) }
          scores.softmaxRows(seen)
          kept.withLock { $0?.weights.keep(scores, at: place, seen) }
          Scalar.multiply(
            m: block.count, n: heads.dim, k: visible.count, alpha: 1,
            a: scores.values, aStride: visible.count,
            b: v.values, bStart: keyAt, bStride: v.columns, bTransposed: false,
            c: out.pointer + queryAt, cStride: q.columns)
        }
        maps = kept.withLock { $0 }
      }
    }
  }
}

/// A block of queries is scored at a time, so that memory grows with the length of a sequence and not with its square, and the scores
/// of a head stay in the cache until they are used.
private let queriesAtATime = 256

/// `alpha · a · bᵀ`, a and b being column ranges (heads) of larger matrices.
private func product<Scalar: Real>(
  alpha: Scalar, rows: Int, columns: Int, inner: Int,
  _ a: [Scalar], at aStart: Int, stride aStride: Int, _ b: [Scalar], at bStart: Int, stride bStride: Int
) -> Matrix<Scalar> {
  Matrix(rows: rows, columns: columns) { out in
    Scalar.multiply(
      m: rows, n: columns, k: inner, alpha: alpha,
      a: a, aStart: aStart, aStride: aStride,
      b: b, bStart: bStart, bStride: bStride, bTransposed: true,
      c: out, cStride: columns)
  }
}

extension Matrix {
  /// Softmax over the first `seen` values of each row; the rest become 0.
  fileprivate mutating func softmaxRows(_ seen: [Int]) {
    let columns = columns
    values.withUnsafeMutableBufferPointer { buffer in
      for (row, count) in seen.enumerated() {
        let start = buffer.baseAddress! + row * columns
        softmax(start, count: count)
        for hidden in count..<columns { start[hidden] = 0 }
      }
    }
  }

  /// Copies what each row of a block sees to its place in a whole map.
  fileprivate mutating func keep(_ block: Matrix, at place: (row: Int, column: Int), _ seen: [Int]) {
    for (row, count) in seen.enumerated() {
      for column in 0..<count { self[place.row + row, place.column + column] = block[row, column] }
    }
  }
}
