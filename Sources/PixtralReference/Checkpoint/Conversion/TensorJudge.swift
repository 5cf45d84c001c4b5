import PixtralStorage

/// Says what became of a tensor. Each question is asked only when those before it are answered no.
final class TensorJudge {
  let original: ConversionSide
  let converted: ConversionSide
  /// Of ORIGINAL's tensors, as far as they have been asked for.
  private var samples: [String: [Double]] = [:]

  init(_ original: ConversionSide, _ converted: ConversionSide) {
    (self.original, self.converted) = (original, converted)
  }

  func verdict(_ o: StoredTensor, _ c: StoredTensor) -> TensorVerdict {
    guard o.shape == c.shape else {
      if let name = source(of: c) { return .swapped(with: name) }
      if let how = axes(o, c) { return how }
      return .reshaped(from: o.shape, to: c.shape)
    }
    if o.dtype == c.dtype && hasSameBytes(o, c) { return .identical }

    let own: DType? = c.dtype.isNarrower(than: o.dtype) ? c.dtype : nil
    var difference = Difference(o, c) { value in own.map { $0.round(value) } ?? value }
    difference.rounding = difference.unequal > difference.unexpected ? own : nil
    if difference.unequal == 0 { return .identical }
    // What is 0 everywhere and was not has been lost, though each value may be the nearest.
    if difference.sumCC == 0 && difference.sumOO > 0 {
      difference = Difference(o, c)
    } else {
      if let own, difference.unexpected == 0 { return rounded(difference, to: own, c) }
      for type in [DType.bf16, .f16, .f32] where type != own && type.isNarrower(than: o.dtype) {
        if let difference = expected(o, c, { type.round($0) }) { return rounded(difference, to: type, c) }
      }
      // PyTorch goes from float64 to float16 by way of float32.
      if o.dtype == .f64, let difference = expected(o, c, { DType.f16.round(DType.f32.round($0)) }) {
        return rounded(difference, to: .f16, c)
      }
    }
    if DType.bf16.isNarrower(than: o.dtype), expected(o, c, truncatedToBF16) != nil {
      return .truncated(to: .bf16)
    }

    // A handful of values is no other tensor and no other order.
    let isLocal = difference.unexpected * 100 < difference.count
    if !isLocal {
      if let name = source(of: c) { return .swapped(with: name) }
      if let how = rowOrder(
        o, c, headRows: headRows(c), layout: converted.layout, parameters: converted.parameters)
      {
        return .permuted(how)
      }
      if let how = axes(o, c) { return how }
      if let factor = difference.factor(c.dtype), isScaled(o, c, by: factor) { return .scaled(by: factor) }
    }
    return .different(difference, shape: o.shape)
  }

  private func isScaled(_ o: StoredTensor, _ c: StoredTensor, by factor: Double) -> Bool {
    Difference(o, c, isExpected: { c.dtype.isScaled($0, by: factor, $1) }).unexpected == 0
  }

  /// Rows of a head; nil where the rows make no heads of the number that CONVERTED's parameters have.
  private func headRows(_ tensor: StoredTensor) -> Int? {
    guard let heads = converted.parameters.rotaryHeads(of: tensor.name), tensor.rows >= heads else {
      return nil
    }
    return tensor.rows / heads
  }

  private func rounded(_ difference: Difference, to type: DType, _ c: StoredTensor) -> TensorVerdict {
    difference.infinite > 0
      ? .overflowed(to: type, storedAs: c.dtype, infinite: difference.infinite, of: difference.count)
      : .rounded(
        to: type, storedAs: c.dtype, changed: difference.unequal, zeroed: difference.zeroed,
        of: difference.count)
  }

  /// How the values differ, if each is what is expected.
  private func expected(
    _ o: StoredTensor, _ c: StoredTensor, _ expecting: @Sendable (Double) -> Double
  ) -> Difference? {
    guard zip(sample(o), sample(c)).allSatisfy({ isSame(expecting($0), $1) }) else { return nil }
    let difference = Difference(o, c, expecting: expecting)
    return difference.unexpected == 0 ? difference : nil
  }

  /// The tensor of ORIGINAL that a tensor of CONVERTED is, values rounded to its dtype.
  func source(of c: StoredTensor) -> String? {
    let values = sample(c)
    return original.inOrder.first { o in
      guard o.name != c.name, o.shape == c.shape else { return false }
      let known = samples[o.name] ?? sample(o)
      samples[o.name] = known
      guard zip(known, values).allSatisfy({ isSame($0, $1) || isSame(c.dtype.round($0), $1) }) else {
        return false
      }
      return Difference(o, c) { c.dtype.round($0) }.unexpected == 0
    }?.name
  }
}

/// Up to 64 values, evenly spaced.
private func sample(_ tensor: StoredTensor) -> [Double] {
  let count = tensor.rows * tensor.columns
  guard count > 0 else { return [] }
  let step = max(1, count / 64)
  return stride(from: 0, to: count, by: step).flatMap { tensor.values($0..<$0 + 1) as [Double] }
}

/// Whether two tensors of one shape and dtype are the same bytes.
private func hasSameBytes(_ a: StoredTensor, _ b: StoredTensor) -> Bool {
  let count = a.rows * a.columns
  for start in stride(from: 0, to: count, by: blockOfValues) {
    let range = start..<min(start + blockOfValues, count)
    guard bytes(a, range) == bytes(b, range) else { return false }
  }
  return true
}

private func bytes(_ tensor: StoredTensor, _ range: Range<Int>) -> [UInt8] {
  var bytes: [UInt8] = []
  bytes.reserveCapacity(range.count * tensor.dtype.size)
  tensor.withBytes(range) { bytes.append(contentsOf: $0) }
  return bytes
}

extension DType {
  /// Whether some values of another dtype are none of this one.
  fileprivate func isNarrower(than other: DType) -> Bool {
    switch (self, other) {
    case (.bf16, .f16), (.f16, .bf16): true
    default: size < other.size
    }
  }
}
