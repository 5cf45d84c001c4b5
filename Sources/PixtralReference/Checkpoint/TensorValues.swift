import PixtralStorage

/// What the values of a tensor come to. What is not finite counts in `nonFinite` alone.
package struct TensorValues: Sendable {
  /// Of the bytes as Mistral's layout has them, and as the file has them where that is another order.
  package let sha256: String
  package let storedSHA256: String?
  package let statistics: ValueStatistics

  /// Reads a tensor once, a block at a time.
  ///
  /// - progress: told how many values came before each block.
  package init(_ tensor: StoredTensor, progress: (Int) -> Void = { _ in }) {
    let hash = SHA256()
    let count = tensor.rows * tensor.columns
    var statistics = ValueStatistics()
    for start in stride(from: 0, to: count, by: blockOfValues) {
      progress(start)
      let range = start..<min(start + blockOfValues, count)
      tensor.withBytes(range) { hash.update($0) }
      statistics.add(ValueStatistics(tensor, range))
    }
    self.statistics = statistics
    sha256 = hash.hexDigest()
    storedSHA256 = tensor.inFileOrder.map { stored in
      let hash = SHA256()
      stored.withBytes(0..<count) { hash.update($0) }
      return hash.hexDigest()
    }
  }

  package var members: [JSON.Member] {
    let members: [(String, JSON?)] = [
      ("sha256", .string(sha256)), ("stored_sha256", storedSHA256.map(JSON.string)),
      ("rms", .number(statistics.rms)), ("largest", .number(statistics.largest)),
      ("non_finite", .integer(statistics.nonFinite)), ("zeros", .number(statistics.shareOfZeros)),
    ]
    return members.compactMap { key, value in value.map { JSON.Member(key: key, value: $0) } }
  }
}

/// Values that are looked at together: 32 MiB of them in double.
let blockOfValues = 1 << 22

/// Sums over the values of a tensor.
package struct ValueStatistics: Sendable, Equatable {
  private(set) var count = 0
  private(set) var nonFinite = 0
  private(set) var zeros = 0
  private(set) var sumOfSquares = 0.0
  /// The largest magnitude.
  private(set) var largest = 0.0

  init() {}

  /// Of some of a tensor's values, by all threads.
  init(_ tensor: StoredTensor, _ range: Range<Int>) {
    let step = 1 << 19
    let parts = [ValueStatistics](unsafeUninitializedCapacity: (range.count + step - 1) / step) {
      buffer, initialized in
      nonisolated(unsafe) let parts = buffer.baseAddress
      inParallel(over: range.count, by: step) { piece in
        let values: [Double] = tensor.values(
          range.lowerBound + piece.lowerBound..<range.lowerBound + piece.upperBound)
        (parts! + piece.lowerBound / step).initialize(to: ValueStatistics(values))
      }
      initialized = (range.count + step - 1) / step
    }
    for part in parts { add(part) }
  }

  init(_ values: [Double]) {
    count = values.count
    for value in values {
      let magnitude = value.magnitude
      // A NaN is not below either.
      guard magnitude < .infinity else {
        nonFinite += 1
        continue
      }
      if magnitude == 0 { zeros += 1 }
      if magnitude > largest { largest = magnitude }
      sumOfSquares += value * value
    }
  }

  mutating func add(_ other: ValueStatistics) {
    count += other.count
    nonFinite += other.nonFinite
    zeros += other.zeros
    sumOfSquares += other.sumOfSquares
    largest = max(largest, other.largest)
  }

  var rms: Double { count > nonFinite ? (sumOfSquares / Double(count - nonFinite)).squareRoot() : 0 }

  var shareOfZeros: Double { count > 0 ? Double(zeros) / Double(count) : 0 }
}
