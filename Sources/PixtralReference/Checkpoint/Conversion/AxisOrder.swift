import PixtralStorage

/// Whether CONVERTED has ORIGINAL's axes in another order: a matrix transposed, a convolution's kernel with its
/// channels last, or its channels the other way round. nil if none of it.
func axes(_ o: StoredTensor, _ c: StoredTensor) -> TensorVerdict? {
  guard o.shape.count == c.shape.count, o.rows * o.columns == c.rows * c.columns else { return nil }
  switch o.shape.count {
  case 2: return o.shape == c.shape.reversed() && isTransposed(o, c) ? .transposed : nil
  case 3, 4: return kernelAxes(o, c).map(TensorVerdict.permuted)
  default: return nil
  }
}

/// By square tiles, so that neither side is read a value at a time.
private func isTransposed(_ o: StoredTensor, _ c: StoredTensor) -> Bool {
  let tile = 512
  for row in stride(from: 0, to: c.rows, by: tile) {
    let rows = row..<min(row + tile, c.rows)
    for column in stride(from: 0, to: c.columns, by: tile) {
      let columns = column..<min(column + tile, c.columns)
      // Rows of c's tile are columns of o's.
      let right = rows.map {
        c.values($0 * c.columns + columns.lowerBound..<$0 * c.columns + columns.upperBound) as [Double]
      }
      let left = columns.map {
        o.values($0 * o.columns + rows.lowerBound..<$0 * o.columns + rows.upperBound) as [Double]
      }
      for i in right.indices {
        for j in left.indices where !isSame(c.dtype.round(left[j][i]), right[i][j]) { return false }
      }
    }
  }
  return true
}

/// Kernels are small: both are held.
private func kernelAxes(_ o: StoredTensor, _ c: StoredTensor) -> String? {
  guard o.rows * o.columns <= blockOfValues else { return nil }
  let (left, right): ([Double], [Double]) = (o.vector(), c.vector())
  let shape = o.shape
  let strides = shape.indices.map { shape[($0 + 1)...].reduce(1, *) }

  /// Whether each value of c, by its indices, is the one of o at the place that these strides and start give.
  func holds(_ start: Int, _ strides: [Int]) -> Bool {
    var index = [Int](repeating: 0, count: shape.count)
    for value in right {
      let place = zip(index, strides).reduce(start) { $0 + $1.0 * $1.1 }
      guard isSame(c.dtype.round(left[place]), value) else { return false }
      for axis in shape.indices.reversed() {
        index[axis] += 1
        if index[axis] < c.shape[axis] { break }
        index[axis] = 0
      }
    }
    return true
  }
  for order in permutations(Array(shape.indices)) where order.map({ shape[$0] }) == c.shape {
    if holds(0, order.map { strides[$0] }) { return "axes are ORIGINAL's in the order \(order)" }
  }
  var reversed = strides
  reversed[1] = -strides[1]
  if shape == c.shape && holds((shape[1] - 1) * strides[1], reversed) {
    return "channels are the other way round: blue, green, red"
  }
  return nil
}

private func permutations(_ items: [Int]) -> [[Int]] {
  guard items.count > 1 else { return [items] }
  return items.flatMap { item in permutations(items.filter { $0 != item }).map { [item] + $0 } }
}
