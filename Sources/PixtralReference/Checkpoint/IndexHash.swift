/// A hash of an index under a text: the same 32 bits on any machine. Model.md 9.1 and 9.2.
struct IndexHash: Sendable {
  let k0: UInt32
  let k1: UInt32

  /// - text: what the hash is for, such as the name of a tensor; FNV-1a makes its key.
  init(_ text: String) {
    var key: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text.utf8 { key = (key ^ UInt64(byte)) &* 0x100_0000_01b3 }
    k0 = UInt32(truncatingIfNeeded: key)
    k1 = UInt32(truncatingIfNeeded: key >> 32)
  }

  @inline(__always)
  func callAsFunction(_ index: UInt32) -> UInt32 {
    var x = index ^ k0
    x ^= x >> 16
    x = x &* 0x85eb_ca6b &+ k1
    x ^= x >> 13
    x = x &* 0xc2b2_ae35
    x ^= x >> 16
    return x
  }
}
