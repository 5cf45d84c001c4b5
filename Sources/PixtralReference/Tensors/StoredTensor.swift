import CValues
import PixtralStorage

/// One tensor, wherever its values are: mapped from a file, or a function of a seed. Or they are gone,
/// but for a digest of a tap.
///
/// Seen as a matrix: the first dimension is the rows, all others together are the columns. A scalar is one row.
package struct StoredTensor: Sendable {
  enum Source: Sendable {
    case mapped(MappedFile, Range<Int>)
    /// The same in half-split order, in heads of so many rows; read in the order of adjacent pairs.
    case halfSplit(MappedFile, Range<Int>, headRows: Int)
    case seeded(SeededValues)
    case digest(TapDigest)
  }

  package let name: String
  package let dtype: DType
  package let shape: [Int]
  let source: Source

  package var rows: Int { shape.first ?? 1 }
  /// None where there is no value: other sizes of an empty tensor may be too large to multiply.
  package var columns: Int { shape.contains(0) ? 0 : shape.dropFirst().reduce(1, *) }

  /// What is left of values that are gone.
  var digest: TapDigest? { if case .digest(let digest) = source { digest } else { nil } }

  init(name: String, dtype: DType, shape: [Int], source: Source) {
    self.name = name
    self.dtype = dtype
    self.shape = shape
    self.source = source
  }

  /// A tensor of a file.
  ///
  /// - Throws: `InputError` of kind `wrongTensors` if its values are of a dtype that is not computed
  ///   with.
  package init(_ tensor: Safetensors.Tensor, of file: MappedFile) throws {
    guard let dtype = tensor.dtype else {
      throw InputError(
        .wrongTensors, "\(file.path), tensor \(tensor.name)",
        expected: "a dtype of \(DType.allCases.map(\.rawValue).joined(separator: ", "))",
        found: tensor.typeName, advice: "convert it first")
    }
    self.init(name: tensor.name, dtype: dtype, shape: tensor.shape, source: .mapped(file, tensor.range))
  }

  /// Some rows, widened to the precision of the run; no memory of a mapped file is kept.
  package func rows<Scalar: BLASScalar>(_ rows: Range<Int>) -> Matrix<Scalar> {
    precondition(rows.lowerBound >= 0 && rows.upperBound <= self.rows, "rows \(rows) of \(name)")
    let columns = columns
    return Matrix(
      rows: rows.count, columns: columns,
      values: values(rows.lowerBound * columns..<rows.upperBound * columns))
  }

  /// Some columns of some rows, widened. The memory of a mapped file is kept until `forget`: its pages
  /// have values of other columns too.
  func block<Scalar: BLASScalar>(rows: Range<Int>, columns: Range<Int>) -> Matrix<Scalar> {
    Matrix(rows: rows.count, columns: columns.count) { out in
      for n in 0..<rows.count {
        let first = (rows.lowerBound + n) * self.columns + columns.lowerBound
        read(first, columns.count, into: out.start + n * columns.count)
      }
    }
  }

  /// Gives the memory of a mapped file back.
  func forget(rows: Range<Int>) { forget(rows.lowerBound * columns..<rows.upperBound * columns) }

  /// Some values, row-major, whatever the shape.
  func values<Scalar: BLASScalar>(_ range: Range<Int>) -> [Scalar] {
    defer { forget(range) }
    return [Scalar](unsafeUninitializedCapacity: range.count) { buffer, initialized in
      if let out = buffer.baseAddress, !range.isEmpty { read(range.lowerBound, range.count, into: out) }
      initialized = range.count
    }
  }

  /// All values, of a norm weight or a bias for instance.
  package func vector<Scalar: BLASScalar>() -> [Scalar] { rows(0..<rows).values }

  private func forget(_ values: Range<Int>) {
    switch source {
    case .seeded, .digest: break
    case .mapped(let file, let range):
      let start = range.lowerBound
      file.forget(start + values.lowerBound * dtype.size..<start + values.upperBound * dtype.size)
    case .halfSplit(let file, let range, let headRows):
      forgetHeads(of: values, headRows: headRows, file, range)
    }
  }

  private func read<Scalar: BLASScalar>(_ first: Int, _ count: Int, into out: UnsafeMutablePointer<Scalar>) {
    switch source {
    case .seeded(let values): widen(count, into: out) { values.fill(first + $0, $1, $2) }
    case .digest: preconditionFailure("the values of \(name), of which there is a digest only")
    case .mapped(let file, let range):
      widen(file.bytes.baseAddress! + range.lowerBound + first * dtype.size, dtype, count, into: out)
    case .halfSplit(let file, let range, let headRows):
      forEachPiece(first..<first + count, headRows: headRows) { stored, done in
        let start = range.lowerBound + stored.lowerBound * dtype.size
        widen(file.bytes.baseAddress! + start, dtype, stored.count, into: out + done)
      }
    }
  }
}

/// Widens stored values, which need not be aligned. Rounds where the run's precision is the
/// narrower one.
private func widen<Scalar: BLASScalar>(
  _ bytes: UnsafeRawPointer, _ dtype: DType, _ count: Int, into out: UnsafeMutablePointer<Scalar>
) {
  switch dtype {
  case .bf16:
    for i in 0..<count {
      let bits = UInt32(bytes.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)) << 16
      out[i] = Scalar(Float(bitPattern: bits))
    }
  case .f16: widen(count, into: out) { widen_float16(bytes + 2 * $0, $1, $2) }
  case .f32:
    for i in 0..<count { out[i] = Scalar(bytes.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)) }
  case .f64:
    for i in 0..<count { out[i] = Scalar(bytes.loadUnaligned(fromByteOffset: 8 * i, as: Double.self)) }
  }
}

/// Widens values that are made as floats, a stretch at a time: `make(first, count, where to)`.
private func widen<Scalar: BLASScalar>(
  _ count: Int, into out: UnsafeMutablePointer<Scalar>,
  _ make: (_ first: Int, _ count: Int, _ floats: UnsafeMutablePointer<Float>) -> Void
) {
  if Scalar.self == Float.self {
    return make(0, count, UnsafeMutableRawPointer(out).assumingMemoryBound(to: Float.self))
  }
  withUnsafeTemporaryAllocation(of: Float.self, capacity: min(count, 1024)) { floats in
    for first in stride(from: 0, to: count, by: floats.count) {
      let stretch = min(floats.count, count - first)
      make(first, stretch, floats.baseAddress!)
      for i in 0..<stretch { out[first + i] = Scalar(floats[i]) }
    }
  }
}
