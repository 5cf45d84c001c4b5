/// One tensor of a checkpoint, wherever its values are: mapped from a file, or a function of a seed.
///
/// Seen as a matrix: the first dimension is the rows, all others together are the columns.
public struct Weight: Sendable {
  enum Source: Sendable {
    case mapped(MappedFile, Range<Int>)
    case seeded(SeededValues)
  }

  public let name: String
  public let element: Element
  public let shape: [Int]
  let source: Source

  public var rows: Int { shape[0] }
  public var columns: Int { shape.dropFirst().reduce(1, *) }

  /// Widens the values of some rows to the precision of the run; no memory of a mapped file is kept.
  func read<Scalar: Real>(_ rows: Range<Int>, into out: UnsafeMutablePointer<Scalar>) {
    precondition(rows.lowerBound >= 0 && rows.upperBound <= self.rows, "rows \(rows) of \(name)")
    let columns = columns
    let count = rows.count * columns
    switch source {
    case .seeded(let values): values.fill(rows.lowerBound * columns, count, out)
    case .mapped(let file, let range):
      let start = range.lowerBound + rows.lowerBound * columns * element.size
      widen(file.bytes.baseAddress! + start, element, count, into: out)
      file.forget(start..<start + count * element.size)
    }
  }

  /// All values of a norm weight or a bias.
  func vector<Scalar: Real>() -> [Scalar] {
    [Scalar](unsafeUninitializedCapacity: rows * columns) { buffer, count in
      read(0..<rows, into: buffer.baseAddress!)
      count = rows * columns
    }
  }
}

/// Widens stored values, which need not be aligned. Rounds where the run's precision is the narrower one.
private func widen<Scalar: Real>(
  _ bytes: UnsafeRawPointer, _ element: Element, _ count: Int, into out: UnsafeMutablePointer<Scalar>
) {
  switch element {
  case .bf16:
    for i in 0..<count {
      out[i] = Scalar(Float(bitPattern: UInt32(bytes.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)) << 16))
    }
  case .f16:
    for i in 0..<count {
      out[i] = Scalar(Float(Float16(bitPattern: bytes.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))))
    }
  case .f32:
    for i in 0..<count { out[i] = Scalar(bytes.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)) }
  case .f64:
    for i in 0..<count { out[i] = Scalar(bytes.loadUnaligned(fromByteOffset: 8 * i, as: Double.self)) }
  }
}
