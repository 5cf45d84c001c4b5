import HeapModule

/// Byte-pair merging of one word at a time: neighbours that together are a piece become that piece, the best score first, then the leftmost.
///
/// Used for word after word, so that its arrays are there already. The cost of a word of n characters grows as n log n.
struct BytePairMerge: Sendable {
  private let pieces: PieceTable
  /// By piece, the place of its score among all scores: the best has 0, equal scores have the same.
  private let ranks: [UInt32]
  /// Id of the piece `<0x00>`; the other bytes follow it.
  private let firstByte: Int

  /// The word in UTF-8, spaces written as `▁`.
  private var bytes: [UInt8] = []
  /// Where symbol after symbol begins in it, and its end. At first a symbol is a Unicode scalar, never a grapheme cluster (T-graphemes).
  private var starts: [Int32] = []
  /// By symbol, the one that follows it and the one before; a symbol that was merged into the one before it is skipped.
  private var next: [Int32] = []
  private var previous: [Int32] = []
  /// By symbol, the piece that it is, and the piece that it makes with the one that follows it; -1 for none.
  private var own: [Int32] = []
  private var joint: [Int32] = []
  /// Pairs to be merged: the rank of the joint piece in the upper half, the left symbol in the lower.
  private var agenda = Heap<UInt64>()
  private var memory = WordMemory()
  /// Pairs of pieces seen before, and the piece that they make; -1 for none. A pair takes the place of another of the same hash.
  private var pairs = [UInt64](repeating: .max, count: 1 << 14)
  private var joints = [Int32](repeating: -1, count: 1 << 14)

  init(pieces: PieceTable, ranks: [UInt32], firstByte: Int) {
    self.pieces = pieces
    self.ranks = ranks
    self.firstByte = firstByte
  }

  /// The word goes on.
  mutating func append(_ byte: UInt8) { bytes.append(byte) }

  mutating func append(_ text: [UInt8]) { bytes.append(contentsOf: text) }

  /// Adds the word's tokens from left to right, and begins another word. A character that is no piece becomes its bytes.
  mutating func finish(_ tokens: inout [Int]) {
    if bytes.isEmpty { return }
    let key = WordMemory.Key(bytes)
    if let key, memory.recall(key, &tokens) {
      bytes.removeAll(keepingCapacity: true)
      return
    }
    let count = tokens.count
    merge()
    var symbol = 0
    while symbol < next.count {
      if own[symbol] >= 0 {
        tokens.append(Int(own[symbol]))
      } else {
        for byte in bytes[Int(starts[symbol])..<Int(starts[symbol + 1])] { tokens.append(firstByte + Int(byte)) }
      }
      symbol = Int(next[symbol])
    }
    if let key { memory.remember(key, tokens[count...]) }
    bytes.removeAll(keepingCapacity: true)
  }

  private mutating func merge() {
    starts.removeAll(keepingCapacity: true)
    for at in bytes.indices where bytes[at] & 0xc0 != 0x80 { starts.append(Int32(at)) }
    let count = starts.count
    starts.append(Int32(bytes.count))
    next.removeAll(keepingCapacity: true)
    previous.removeAll(keepingCapacity: true)
    own.removeAll(keepingCapacity: true)
    joint.removeAll(keepingCapacity: true)
    for symbol in 0..<count {
      next.append(Int32(symbol + 1))
      previous.append(Int32(symbol - 1))
      own.append(Int32(pieces.id(of: bytes[Int(starts[symbol])..<Int(starts[symbol + 1])]) ?? -1))
      joint.append(-1)
    }
    for left in 0..<count { consider(left) }
    while let pair = agenda.popMin() {
      let left = Int(UInt32(truncatingIfNeeded: pair))
      // Otherwise one of the two has been merged with another since.
      guard joint[left] >= 0, key(joint[left], left) == pair else { continue }
      let right = Int(next[left])
      own[left] = joint[left]
      next[left] = next[right]
      joint[right] = -1
      if next[left] < count { previous[Int(next[left])] = Int32(left) }
      consider(left)
      if previous[left] >= 0 { consider(Int(previous[left])) }
    }
  }

  /// Puts a symbol and the one that follows it on the agenda, if together they are a piece. A character that is none is part of none.
  private mutating func consider(_ left: Int) {
    let right = Int(next[left])
    joint[left] = -1
    guard right < joint.count, own[left] >= 0, own[right] >= 0 else { return }
    let pair = UInt64(own[left]) << 32 | UInt64(own[right])
    let slot = Int(truncatingIfNeeded: (pair &* 0x9e37_79b9_7f4a_7c15) >> 50)
    if pairs[slot] != pair {
      pairs[slot] = pair
      joints[slot] = Int32(pieces.id(of: bytes[Int(starts[left])..<Int(starts[Int(next[right])])]) ?? -1)
    }
    let id = joints[slot]
    guard id >= 0 else { return }
    joint[left] = id
    agenda.insert(key(id, left))
  }

  private func key(_ id: Int32, _ left: Int) -> UInt64 { UInt64(ranks[Int(id)]) << 32 | UInt64(left) }
}

/// What short words came to: most of a text is a few thousand words that come again. A word takes the place of another of the same hash.
private struct WordMemory: Sendable {
  /// A word of up to 31 bytes and, behind it, their number: two words are the same if their keys are.
  struct Key: Sendable {
    var bits = SIMD4<UInt64>()

    init?(_ word: [UInt8]) {
      guard word.count < 32 else { return nil }
      withUnsafeMutableBytes(of: &bits) { bits in
        word.withUnsafeBytes { bits.copyMemory(from: $0) }
        bits[31] = UInt8(word.count)
      }
    }

    var slot: Int {
      let mixed = bits &* [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 0x27d4_eb2f_1656_67c5]
      return Int(truncatingIfNeeded: (mixed[0] ^ mixed[1] ^ mixed[2] ^ mixed[3]) >> 51)
    }
  }

  /// No key is zero, for none has no bytes.
  private var words = [SIMD4<UInt64>](repeating: .zero, count: 1 << 13)
  /// Up to four tokens a word, -1 behind the last.
  private var tokens = [SIMD4<Int32>](repeating: .zero, count: 1 << 13)

  /// Adds the word's tokens if they are known.
  func recall(_ key: Key, _ out: inout [Int]) -> Bool {
    let slot = key.slot
    guard words[slot] == key.bits else { return false }
    let known = tokens[slot]
    for index in 0..<4 where known[index] >= 0 { out.append(Int(known[index])) }
    return true
  }

  mutating func remember(_ key: Key, _ found: ArraySlice<Int>) {
    guard found.count <= 4 else { return }
    var known = SIMD4<Int32>(repeating: -1)
    for (index, token) in found.enumerated() { known[index] = Int32(token) }
    words[key.slot] = key.bits
    tokens[key.slot] = known
  }
}
