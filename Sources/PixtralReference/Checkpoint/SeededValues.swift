import CValues

/// The values of one tensor of a seeded checkpoint: a pure function of seed, name and index.
/// Model.md 9.
package struct SeededValues: Sendable {
  let hash: IndexHash
  let offset: Float
  let step: Float

  package init(seed: Int, name: String, offset: Double, scale: Double) {
    hash = IndexHash("\(seed):\(name)")
    self.offset = Float(offset)
    step = Float(scale) * 0x1p-23
  }

  /// The bfloat16 at an index, as a float. Model.md 9.3 and 9.4.
  ///
  /// This is the definition. A run takes its values from `fill`, some ten times as fast.
  package subscript(index: UInt32) -> Float {
    let m = Float(Int32(bitPattern: hash(index) >> 8) &- 0x80_0000)
    let value = (offset + m * step).bitPattern
    return Float(bitPattern: (value &+ 0x7fff &+ (value >> 16 & 1)) & 0xffff_0000)
  }

  /// The values from an index on, to the bit.
  package func fill(_ first: Int, _ count: Int, _ out: UnsafeMutablePointer<Float>) {
    seeded_values(hash.k0, hash.k1, offset, step, UInt32(truncatingIfNeeded: first), count, out)
  }
}
