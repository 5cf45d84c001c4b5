import PixtralStorage

/// How the rows of CONVERTED are ORIGINAL's in another order; nil if they are not.
///
/// - headRows: rows of a head, of a tensor whose rows are rotated.
/// - layout: CONVERTED's. In Hugging Face's its rows have been brought from half-split order already, as they
///   should be; what is said is said of the file.
func rowOrder(
  _ o: StoredTensor, _ c: StoredTensor, headRows: Int?, layout: CheckpointLayout?, parameters: Parameters
) -> String? {
  let count = o.rows
  guard count > 1 else { return nil }
  let (original, read) = (rowHashes(o, roundedTo: c.dtype), rowHashes(c, roundedTo: c.dtype))
  guard original.sorted() == read.sorted() else { return nil }
  guard let headRows, count % headRows == 0 else { return firstMoved(original, read) }

  let isHalfSplit = layout == .hf && headRows % 2 == 0
  // As the file has them.
  let stored = isHalfSplit ? (0..<count).map { read[halfSplitRow($0, headRows: headRows)] } : read
  func isOrder(_ source: (Int) -> Int) -> Bool {
    (0..<count).allSatisfy { stored[$0] == original[source($0)] }
  }

  let heads = count / headRows
  if isHalfSplit && isOrder({ $0 }) {
    return "rows are in Mistral's order, where half-split order is due for \(heads) heads of \(headRows)"
  }
  for rows in stride(from: 2, through: count, by: 2) where count % rows == 0 {
    let wrong =
      rows == headRows ? "" : " by \(count / rows) heads of \(rows) rows instead of \(heads) of \(headRows)"
    let asQueries =
      wrong.isEmpty || count / rows != parameters.heads || !o.name.hasPrefix("layers.")
        || !o.name.hasSuffix("wk.weight")
      ? "" : " (the number of query heads)"
    if rows != headRows || !isHalfSplit, isOrder({ halfSplitRow($0, headRows: rows) }) {
      return isHalfSplit
        ? "rows are in half-split order\(wrong)\(asQueries)"
        : "rows are in half-split order\(wrong)\(asQueries), where Mistral's order is due"
    }
    if isOrder({ adjacentPairRow($0, headRows: rows) }) {
      return "rows are permuted the other way round\(wrong)\(asQueries)"
    }
    if isOrder({ halfSplitRow(halfSplitRow($0, headRows: rows), headRows: rows) }) {
      return "rows are permuted twice\(wrong)\(asQueries)"
    }
  }
  let firstRows = stride(from: 0, to: count, by: headRows).map { original.firstIndex(of: read[$0]) ?? 0 }
  let areWhole = firstRows.enumerated().allSatisfy { head, first in
    first % headRows == 0
      && original[first..<first + headRows] == read[head * headRows..<(head + 1) * headRows]
  }
  if areWhole, let head = firstRows.indices.first(where: { firstRows[$0] != $0 * headRows }) {
    return "heads are in another order: head \(head) is ORIGINAL's head \(firstRows[head] / headRows)"
  }
  return firstMoved(original, read)
}

private func firstMoved(_ original: [UInt64], _ read: [UInt64]) -> String? {
  guard let row = read.indices.first(where: { read[$0] != original[$0] }),
    let source = original.firstIndex(of: read[row])
  else { return nil }
  return "rows are in another order: row \(row) is ORIGINAL's row \(source)"
}

/// A number for each row, the same for the same values.
private func rowHashes(_ tensor: StoredTensor, roundedTo dtype: DType) -> [UInt64] {
  let columns = tensor.columns
  guard columns > 0 else { return [UInt64](repeating: 0, count: tensor.rows) }
  let step = max(1, (1 << 19) / columns)
  return [UInt64](unsafeUninitializedCapacity: tensor.rows) { buffer, initialized in
    nonisolated(unsafe) let hashes = buffer.baseAddress
    inParallel(over: tensor.rows, by: step) { rows in
      let block: Matrix<Double> = tensor.rows(rows)
      for row in 0..<rows.count {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for column in 0..<columns {
          hash = (hash ^ dtype.round(block[row, column]).bitPattern) &* 0x9e37_79b9_7f4a_7c15
          hash ^= hash >> 29
        }
        hashes![rows.lowerBound + row] = hash
      }
    }
    initialized = tensor.rows
  }
}
