import PixtralStorage

/// How two tensors of as many values differ, value by value.
package struct Difference: Sendable, Equatable {
  package internal(set) var count = 0
  /// Values that are not the same bits; NaN is NaN.
  package internal(set) var unequal = 0
  /// Values that are not the ones expected.
  var unexpected = 0
  /// Finite values that became infinite or NaN; values that became 0.
  var infinite = 0
  var zeroed = 0
  /// Sums over values that are finite on both sides.
  var sumOO = 0.0
  var sumCC = 0.0
  var sumOC = 0.0
  var sumOfSquares = 0.0
  /// The dtype to which rounding is expected.
  var rounding: DType?
  /// Of the unexpected ones the farthest: where, and what it is on either side. What is not finite on one side
  /// is farthest.
  var farthest = -1.0
  var farthestIndex = 0
  var farthestValues = (0.0, 0.0)
  /// The first and the last that are unexpected.
  var first = Int.max
  var last = -1

  package static func == (a: Difference, b: Difference) -> Bool {
    (a.count, a.unexpected, a.first, a.last, a.farthestIndex) == (
      b.count, b.unexpected, b.first, b.last, b.farthestIndex
    )
  }

  init() {}

  /// Compares all values, by all threads.
  ///
  /// - expecting: what a value of the original should have become.
  init(_ original: StoredTensor, _ converted: StoredTensor, expecting: @Sendable (Double) -> Double = { $0 })
  {
    self.init(original, converted) { isSame(expecting($0), $1) }
  }

  /// - isExpected: whether a value of the original may have become one of the converted tensor.
  init(
    _ original: StoredTensor, _ converted: StoredTensor, isExpected: @Sendable (Double, Double) -> Bool
  ) {
    let count = original.rows * original.columns
    let step = 1 << 19
    let parts = [Difference](unsafeUninitializedCapacity: (count + step - 1) / step) { buffer, initialized in
      nonisolated(unsafe) let parts = buffer.baseAddress
      inParallel(over: count, by: step) { range in
        var part = Difference()
        part.add(original.values(range), converted.values(range), range.lowerBound, isExpected)
        (parts! + range.lowerBound / step).initialize(to: part)
      }
      initialized = (count + step - 1) / step
    }
    for part in parts { add(part) }
  }

  private mutating func add(
    _ original: [Double], _ converted: [Double], _ start: Int, _ isExpected: (Double, Double) -> Bool
  ) {
    count = original.count
    for n in 0..<count {
      let (o, c) = (original[n], converted[n])
      if o.isFinite && c.isFinite {
        sumOO += o * o
        sumCC += c * c
        sumOC += o * c
        sumOfSquares += (c - o) * (c - o)
      }
      if !isSame(o, c) {
        unequal += 1
        if o.isFinite && !c.isFinite { infinite += 1 }
        if o != 0 && c == 0 { zeroed += 1 }
      }
      if isExpected(o, c) { continue }
      unexpected += 1
      first = min(first, start + n)
      last = start + n
      let distance = o.isFinite && c.isFinite ? (c - o).magnitude : .infinity
      if distance > farthest { (farthest, farthestIndex, farthestValues) = (distance, start + n, (o, c)) }
    }
  }

  private mutating func add(_ other: Difference) {
    count += other.count
    unequal += other.unequal
    unexpected += other.unexpected
    infinite += other.infinite
    zeroed += other.zeroed
    sumOO += other.sumOO
    sumCC += other.sumCC
    sumOC += other.sumOC
    sumOfSquares += other.sumOfSquares
    first = min(first, other.first)
    last = max(last, other.last)
    if other.farthest > farthest {
      (farthest, farthestIndex, farthestValues) =
        (other.farthest, other.farthestIndex, other.farthestValues)
    }
  }

  /// `‖c − o‖ / ‖o‖`.
  package var relF: Double { sumOO > 0 ? (sumOfSquares / sumOO).squareRoot() : .infinity }

  /// The number by which the original has been multiplied, if that leaves no more than a dtype's rounding of the
  /// whole. Single values may be off all the same.
  func factor(_ dtype: DType) -> Double? {
    guard sumOO > 0, infinite == 0 else { return nil }
    let factor = sumOC / sumOO
    let rest = max(0, sumCC - factor * sumOC)
    let rounding = dtype.roundingError
    guard rest.squareRoot() <= rounding * sumCC.squareRoot(), (factor - 1).magnitude > 2 * rounding,
      factor != 0
    else { return nil }
    return factor
  }

  func sentence(_ shape: [Int]) -> String {
    let (o, c) = farthestValues
    let place = "\(index(farthestIndex, in: shape)): \(o) became \(c)"
    let beyond = rounding.map { " by more than rounding to \($0.rawValue)" } ?? ""
    if unexpected == 1 { return "1 of \(count) values differs\(beyond), at \(place)" }
    let columns = shape.dropFirst().reduce(1, *)
    let rows = columns > 1 ? (first / columns, last / columns) : (0, 1)
    let inRow = rows.0 == rows.1 && shape[0] > 1 ? ", all in row \(rows.0)" : ""
    let infinite = infinite > 0 ? ", \(infinite) became infinite or NaN" : ""
    return
      "\(unexpected) of \(count) values differ\(beyond)\(inRow)\(infinite), relF \(rounded(relF)); farthest at \(place)"
  }
}

/// The same value; any NaN is any other.
func isSame(_ a: Double, _ b: Double) -> Bool { a.bitPattern == b.bitPattern || (a.isNaN && b.isNaN) }

extension DType {
  /// Whether a value is another times a number, after one rounding of the number and one of the product.
  func isScaled(_ original: Double, by factor: Double, _ value: Double) -> Bool {
    let product = original * factor
    // Below the normal numbers the error no longer shrinks with the value.
    let least = self == .f16 ? 0x1p-24 : 0x1p-126
    if !product.isFinite || !value.isFinite { return isSame(product, value) }
    return (value - product).magnitude <= 2 * roundingError * product.magnitude + least
  }

  /// A bound on the relative error of rounding to it.
  fileprivate var roundingError: Double {
    switch self {
    case .bf16: 0x1p-8
    case .f16: 0x1p-11
    case .f32: 1e-6
    case .f64: 1e-7
    }
  }

  /// Rounds to the nearest value of it, ties to even.
  package func round(_ value: Double) -> Double {
    switch self {
    case .bf16:
      let bits = Float(value).bitPattern
      if value.isNaN { return .nan }
      return Double(Float(bitPattern: (bits &+ 0x7fff &+ (bits >> 16 & 1)) & 0xffff_0000))
    case .f16: return Double(Float16(value))
    case .f32: return Double(Float(value))
    case .f64: return value
    }
  }
}

/// Cuts the lower half of a float32 off.
func truncatedToBF16(_ value: Double) -> Double {
  Double(Float(bitPattern: Float(value).bitPattern & 0xffff_0000))
}

/// `[3, 17]`.
private func index(_ n: Int, in shape: [Int]) -> [Int] {
  var (rest, index) = (n, [Int]())
  for size in shape.reversed() {
    index.insert(rest % size, at: 0)
    rest /= size
  }
  return index
}

/// Two significant digits.
private func rounded(_ value: Double) -> String {
  guard value.isFinite, value > 0 else { return "\(value)" }
  var (scale, exponent) = (value, 0)
  while scale >= 10 { (scale, exponent) = (scale / 10, exponent + 1) }
  while scale < 1 { (scale, exponent) = (scale * 10, exponent - 1) }
  return "\((scale * 10).rounded() / 10)e\(exponent)"
}
