/// How the columns of q, k and v divide into heads.
public struct Heads: Sendable, Equatable {
  /// Query heads, key-value heads, and columns a head.
  let query, keyValue, dim: Int
}

/// What attention shows on demand: (queries, heads · keys) each; head h is columns h · keys ..< (h + 1) · keys.
struct AttentionMaps<Scalar: Real> {
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
    for segment in segments {
      let queries = max(segment.lowerBound, firstQuery)..<max(segment.upperBound, firstQuery)
      for start in stride(from: queries.lowerBound, to: queries.upperBound, by: queriesAtATime) {
        let block = start..<min(start + queriesAtATime, queries.upperBound)
        let visible = segment.lowerBound..<(causal ? block.upperBound : segment.upperBound)
        var scores = Matrix<Scalar>(rows: block.count, columns: visible.count) { _ in }

        for head in 0..<heads.query {
          let shared = head / (heads.query / heads.keyValue)
          let queryAt = (block.lowerBound - firstQuery) * q.columns + head * heads.dim
          let keyAt = visible.lowerBound * k.columns + shared * heads.dim
          let (first, all) = (block.lowerBound + 1 - visible.lowerBound, visible.count)
          let seen: @Sendable (Int) -> Int = { row in causal ? first + row : all }

          scores.setProduct(
            alpha: scale, rows: block.count, columns: visible.count, inner: heads.dim,
            q.values, at: queryAt, stride: q.columns, k.values, at: keyAt, stride: k.columns)
          maps?.keep(scores, in: \.scores, block.lowerBound - firstQuery, head * keys + visible.lowerBound, seen)
          scores.softmaxRows(seen)
          maps?.keep(scores, in: \.weights, block.lowerBound - firstQuery, head * keys + visible.lowerBound, seen)
          scores.multiply(
            by: v.values, at: keyAt, stride: v.columns, columns: heads.dim,
            into: context + queryAt, stride: q.columns)
        }
      }
    }
  }
}

/// A block of queries is scored at a time, so that memory grows with the length of a sequence and not with its square.
private let queriesAtATime = 1024

extension Matrix {
  /// `self = alpha · a · bᵀ`, a and b being column ranges (heads) of larger matrices.
  fileprivate mutating func setProduct(
    alpha: Scalar, rows: Int, columns: Int, inner: Int,
    _ a: [Scalar], at aStart: Int, stride aStride: Int, _ b: [Scalar], at bStart: Int, stride bStride: Int
  ) {
    values.withUnsafeMutableBufferPointer { out in
      a.withUnsafeBufferPointer { a in
        b.withUnsafeBufferPointer { b in
          Scalar.multiply(
            m: rows, n: columns, k: inner, alpha: alpha,
            a: a.baseAddress! + aStart, aStride: aStride,
            b: b.baseAddress! + bStart, bStride: bStride, bTransposed: true,
            c: out.baseAddress!, cStride: columns)
        }
      }
    }
  }

  /// Softmax over the first `seen(row)` values of each row; the rest become 0.
  fileprivate mutating func softmaxRows(_ seen: @Sendable (Int) -> Int) {
    let (rows, columns) = (rows, columns)
    values.withUnsafeMutableBufferPointer { buffer in
      let base = Shared(buffer.baseAddress!)
      inParallel(over: rows, atLeast: 16) { range in
        for row in range {
          let start = base.pointer + row * columns
          softmax(start, count: seen(row))
          for hidden in seen(row)..<columns { start[hidden] = 0 }
        }
      }
    }
  }

  /// `self · b` into a column range of a larger matrix.
  fileprivate func multiply(
    by b: [Scalar], at bStart: Int, stride bStride: Int, columns outColumns: Int,
    into out: UnsafeMutablePointer<Scalar>, stride outStride: Int
  ) {
    values.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        Scalar.multiply(
          m: rows, n: outColumns, k: columns, alpha: 1,
          a: a.baseAddress!, aStride: columns,
          b: b.baseAddress! + bStart, bStride: bStride, bTransposed: false,
          c: out, cStride: outStride)
      }
    }
  }
}

extension AttentionMaps {
  /// Copies what each row of a block sees to its place in the whole map.
  fileprivate mutating func keep(
    _ block: Matrix<Scalar>, in map: WritableKeyPath<AttentionMaps, Matrix<Scalar>>,
    _ firstRow: Int, _ firstColumn: Int, _ seen: (Int) -> Int
  ) {
    for row in 0..<block.rows {
      for column in 0..<seen(row) { self[keyPath: map][firstRow + row, firstColumn + column] = block[row, column] }
    }
  }
}
