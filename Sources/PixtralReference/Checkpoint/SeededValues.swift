/// The values of one tensor of a seeded checkpoint: a pure function of seed, name and index.
/// Model.md 9.
struct SeededValues: Sendable {
  let k0: UInt32
  let k1: UInt32
  let offset: Float
  let step: Float

  init(seed: Int, name: String, offset: Double, scale: Double) {
    // Model.md 9.1: FNV-1a.
    var key: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in "\(seed):\(name)".utf8 { key = (key ^ UInt64(byte)) &* 0x100_0000_01b3 }
    k0 = UInt32(truncatingIfNeeded: key)
    k1 = UInt32(truncatingIfNeeded: key >> 32)
    self.offset = Float(offset)
    step = Float(scale) * 0x1p-23
  }

  /// The bits of the bfloat16 at an index. Model.md 9.2 to 9.4.
  @inline(__always)
  func bits(_ index: UInt32) -> UInt32 {
    var x = index ^ k0
    x ^= x >> 16
    x = x &* 0x85eb_ca6b &+ k1
    x ^= x >> 13
    x = x &* 0xc2b2_ae35
    x ^= x >> 16
    let m = Float(Int32(bitPattern: x >> 8) &- 0x80_0000)
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
