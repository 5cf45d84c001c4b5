import PixtralStorage

extension StoredTensor {
  /// The same tensor, whose rows stand in half-split order in its file, in the order of adjacent pairs.
  func asAdjacentPairs(heads: Int) -> StoredTensor {
    guard case .mapped(let file, let range) = source, rows % (2 * heads) == 0 else { return self }
    return StoredTensor(
      name: name, dtype: dtype, shape: shape, source: .halfSplit(file, range, headRows: rows / heads))
  }

  /// The same tensor in the order in which its file has the rows; nil where that is the order of adjacent
  /// pairs.
  var inFileOrder: StoredTensor? {
    guard case .halfSplit(let file, let range, _) = source else { return nil }
    return StoredTensor(name: name, dtype: dtype, shape: shape, source: .mapped(file, range))
  }

  /// The same tensor under another name.
  func named(_ name: String) -> StoredTensor {
    StoredTensor(name: name, dtype: dtype, shape: shape, source: source)
  }

  /// Where values of half-split weights stand that are asked for in the order of adjacent pairs: rows, or
  /// pieces of rows.
  ///
  /// - body: told the place of a piece in the file, in values, and how many values came before it.
  func forEachPiece(_ range: Range<Int>, headRows: Int, _ body: (_ stored: Range<Int>, _ done: Int) -> Void) {
    let columns = columns
    var next = range.lowerBound
    while next < range.upperBound {
      let (row, column) = next.quotientAndRemainder(dividingBy: columns)
      let count = min(columns - column, range.upperBound - next)
      let start = adjacentPairRow(row, headRows: headRows) * columns + column
      body(start..<start + count, next - range.lowerBound)
      next += count
    }
  }

  /// Some values as they are stored, in the order of adjacent pairs, in pieces that are gone after each call.
  /// Those of a function are bfloat16.
  ///
  /// - range: of values.
  func withBytes(_ range: Range<Int>, _ body: (UnsafeRawBufferPointer) -> Void) {
    func give(_ file: MappedFile, _ start: Int, _ count: Int) {
      // Few enough that the pages of a large tensor do not pile up.
      for first in stride(from: start, to: start + count * dtype.size, by: 1 << 24) {
        let bytes = first..<min(first + (1 << 24), start + count * dtype.size)
        body(UnsafeRawBufferPointer(rebasing: file.bytes[bytes]))
        file.forget(bytes)
      }
    }
    switch source {
    case .digest: preconditionFailure("the values of \(name), of which there is a digest only")
    case .seeded:
      let values: [Float] = values(range)
      values.map { UInt16(truncatingIfNeeded: $0.bitPattern >> 16) }.withUnsafeBytes(body)
    case .mapped(let file, let bytes):
      give(file, bytes.lowerBound + range.lowerBound * dtype.size, range.count)
    case .halfSplit(let file, let bytes, let headRows):
      forEachPiece(range, headRows: headRows) { stored, _ in
        give(file, bytes.lowerBound + stored.lowerBound * dtype.size, stored.count)
      }
      forgetHeads(of: range, headRows: headRows, file, bytes)
    }
  }

  /// Gives the memory back of all of a mapped file's pages that hold the tensor.
  func forget() {
    switch source {
    case .mapped(let file, let bytes), .halfSplit(let file, let bytes, _): file.forget(bytes)
    case .seeded, .digest: break
    }
  }

  /// Gives the memory back of the heads that some values of half-split weights belong to: pages that rows
  /// share would stay row by row.
  func forgetHeads(of range: Range<Int>, headRows: Int, _ file: MappedFile, _ bytes: Range<Int>) {
    let head = headRows * columns * dtype.size
    guard head > 0, !range.isEmpty else { return }
    let first = range.lowerBound * dtype.size / head * head
    let end = (range.upperBound * dtype.size + head - 1) / head * head
    file.forget(bytes.lowerBound + first..<bytes.lowerBound + end)
  }
}
