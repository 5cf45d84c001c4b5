/// The values of one tensor of a seeded checkpoint: a pure function of seed, name and index.
/// Model.md 9.
struct SeededValues: Sendable {
  let hash: IndexHash
  let offset: Float
  let step: Float

  init(seed: Int, name: String, offset: Double, scale: Double) {
    hash = IndexHash("\(seed):\(name)")
    self.offset = Float(offset)
    step = Float(scale) * 0x1p-23
  }

  /// The bits of the bfloat16 at an index. Model.md 9.3 and 9.4.
  @inline(__always)
  func bits(_ index: UInt32) -> UInt32 {
    let m = Float(Int32(bitPattern: hash(index) >> 8) &- 0x80_0000)
    let value = (offset + m * step).bitPattern
    return (value &+ 0x7fff &+ (value >> 16 & 1)) >> 16
  }

  func fill<Scalar: BLASScalar>(_ first: Int, _ count: Int, _ out: UnsafeMutablePointer<Scalar>) {
    let start = UInt32(truncatingIfNeeded: first)
    for i in 0..<count {
      out[i] = Scalar(Float(bitPattern: bits(start &+ UInt32(truncatingIfNeeded: i)) << 16))
    }
  }
}
