/// Finds a piece by its UTF-8 bytes, without making a string of them: an open-addressing hash
/// table.
struct PieceTable: Sendable {
  /// By hash, the number of an entry; -1 for a free slot.
  private var slots: [Int32]
  /// By entry, where its bytes begin (and, behind the last, where they end), and its piece.
  private var starts: [Int32] = [0]
  private var ids: [Int32] = []
  private var bytes: [UInt8] = []

  /// A table of the normal pieces.
  init(_ vocabulary: Vocabulary) {
    var capacity = 16
    while capacity < 2 * vocabulary.pieces.count { capacity *= 2 }
    slots = [Int32](repeating: -1, count: capacity)
    for (id, piece) in vocabulary.pieces.enumerated() where piece.kind == .normal {
      let text = Array(piece.text.utf8)
      var slot = Self.hash(text[...]) & (capacity - 1)
      while slots[slot] >= 0 { slot = (slot + 1) & (capacity - 1) }
      slots[slot] = Int32(ids.count)
      ids.append(Int32(id))
      bytes += text
      starts.append(Int32(bytes.count))
    }
  }

  /// The id of the piece that is exactly these bytes; nil if there is none.
  func id(of text: ArraySlice<UInt8>) -> Int32? {
    var slot = Self.hash(text) & (slots.count - 1)
    while slots[slot] >= 0 {
      let entry = Int(slots[slot])
      if bytes[Int(starts[entry])..<Int(starts[entry + 1])].elementsEqual(text) { return ids[entry] }
      slot = (slot + 1) & (slots.count - 1)
    }
    return nil
  }

  /// FNV-1a, its high bits folded in.
  private static func hash(_ text: ArraySlice<UInt8>) -> Int {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return Int(truncatingIfNeeded: hash ^ (hash >> 29)) & Int.max
  }
}
