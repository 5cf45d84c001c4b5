import Glibc

/// Finds a piece by its UTF-8 bytes, without making a string of them: an open-addressing hash table.
struct PieceTable: Sendable {
  private var slots: [Int32]
  private var starts: [Int32] = [0]
  private var bytes: [UInt8] = []
  private var ids: [Int32] = []

  init(_ pieces: [(text: String, id: Int)]) {
    var capacity = 16
    while capacity < 2 * pieces.count { capacity *= 2 }
    slots = [Int32](repeating: -1, count: capacity)
    for piece in pieces {
      bytes.append(contentsOf: piece.text.utf8)
      starts.append(Int32(bytes.count))
      let entry = ids.count
      ids.append(Int32(piece.id))
      var slot = bytes[Int(starts[entry])...].withUnsafeBytes(hash) & (capacity - 1)
      while slots[slot] >= 0 { slot = (slot + 1) & (capacity - 1) }
      slots[slot] = Int32(entry)
    }
  }

  /// The id of the piece that is exactly these bytes; nil if there is none.
  func id(of text: ArraySlice<UInt8>) -> Int? {
    text.withUnsafeBytes { text in
      var slot = hash(text) & (slots.count - 1)
      while slots[slot] >= 0 {
        let entry = Int(slots[slot])
        let start = Int(starts[entry])
        if Int(starts[entry + 1]) - start == text.count {
          let isEqual = bytes.withUnsafeBytes { memcmp($0.baseAddress! + start, text.baseAddress!, text.count) == 0 }
          if isEqual { return Int(ids[entry]) }
        }
        slot = (slot + 1) & (slots.count - 1)
      }
      return nil
    }
  }

  private func hash(_ text: UnsafeRawBufferPointer) -> Int {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return Int(truncatingIfNeeded: hash ^ hash >> 29) & Int.max
  }
}
