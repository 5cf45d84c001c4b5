import HeapModule

/// `BytePairEncoding` made fast: one word at a time, the next pair from a heap, words and pairs
/// remembered.
///
/// Used for word after word, so that its arrays are there already. The cost of a word of n
/// characters grows as n log n.
struct FastMerge: Sendable {
  /// A stretch of the word that is a piece, or a character that is none. At first each is a Unicode
  /// scalar.
  private struct Symbol {
    /// Where its bytes begin in the word; they end where the next symbol of the beginning began.
    var start: Int32
    /// The symbols on both sides; one that was merged into the one before it is skipped.
    var previous: Int32
    var next: Int32
    /// The piece that it is, and the piece that it makes with the one that follows it; -1 for none.
    var own: Int32
    var joint: Int32 = -1
  }

  private let pieces: PieceTable
  /// By piece, the place of its score among all scores: the best has 0, equal scores have the same.
  private let ranks: [UInt32]
  /// Id of the piece `<0x00>`; the other bytes follow it.
  private let firstByte: Int

  /// The word in UTF-8, spaces written as `▁`.
  private var bytes: [UInt8] = []
  private var symbols: [Symbol] = []
  /// Pairs to be merged: the rank of the joint piece in the upper half, the left symbol in the
  /// lower.
  private var agenda = Heap<UInt64>()
  private var words = WordMemory()
  private var pairs = PairMemory()

  init(_ vocabulary: Vocabulary) {
    pieces = PieceTable(vocabulary)
    firstByte = vocabulary.firstByte
    let scores = vocabulary.pieces.map(\.score)
    var ranks = [UInt32](repeating: 0, count: scores.count)
    let order = scores.indices.sorted { scores[$0] > scores[$1] }
    for (a, b) in zip(order, order.dropFirst()) { ranks[b] = ranks[a] + (scores[b] < scores[a] ? 1 : 0) }
    self.ranks = ranks
  }

  /// The word goes on.
  mutating func append(_ byte: UInt8) { bytes.append(byte) }

  mutating func append(_ text: [UInt8]) { bytes.append(contentsOf: text) }

  /// Adds the word's tokens from left to right, and begins another word.
  mutating func finish(_ tokens: inout [Int]) {
    if bytes.isEmpty { return }
    let key = WordMemory.Key(bytes)
    if let key, words.recall(key, &tokens) {
      bytes.removeAll(keepingCapacity: true)
      return
    }
    let count = tokens.count
    let isLong = bytes.count > 1 << 16
    if isLong {
      // Growing step by step would take half as much memory again.
      symbols.reserveCapacity(bytes.count + 1)
      agenda.reserveCapacity(bytes.count)
    }
    split()
    merge()
    var at = 0
    while at < symbols.count - 1 {
      let symbol = symbols[at]
      if symbol.own >= 0 {
        tokens.append(Int(symbol.own))
      } else {
        for byte in bytes[text(at, to: symbol.next)] { tokens.append(firstByte + Int(byte)) }
      }
      at = Int(symbol.next)
    }
    if let key { words.remember(key, tokens[count...]) }
    bytes.removeAll(keepingCapacity: !isLong)
    if isLong { (symbols, agenda) = ([], Heap()) }
  }

  /// The bytes from one symbol up to another.
  private func text(_ first: Int, to end: Int32) -> Range<Int> {
    Int(symbols[first].start)..<Int(symbols[Int(end)].start)
  }

  /// A symbol for each scalar, and one behind the last that only says where the word ends.
  private mutating func split() {
    symbols.removeAll(keepingCapacity: true)
    for at in bytes.indices where bytes[at] & 0xc0 != 0x80 { add(at) }
    add(bytes.count)
    for at in 0..<symbols.count - 1 {
      symbols[at].own = pieces.id(of: bytes[text(at, to: symbols[at].next)]) ?? -1
    }
  }

  private mutating func add(_ start: Int) {
    let index = Int32(symbols.count)
    symbols.append(Symbol(start: Int32(start), previous: index - 1, next: index + 1, own: -1))
  }

  private mutating func merge() {
    let end = symbols.count - 1
    for left in 0..<end { consider(left) }
    while let pair = agenda.popMin() {
      let left = Int(UInt32(truncatingIfNeeded: pair))
      let joint = symbols[left].joint
      // Otherwise one of the two has been merged with another since.
      guard joint >= 0, key(joint, left) == pair else { continue }
      let right = Int(symbols[left].next)
      let next = symbols[right].next
      symbols[left].own = joint
      symbols[left].next = next
      symbols[right].joint = -1
      symbols[Int(next)].previous = Int32(left)
      consider(left)
      if symbols[left].previous >= 0 { consider(Int(symbols[left].previous)) }
    }
  }

  /// Puts a symbol and the one that follows it on the agenda, if together they are a piece. A
  /// character without a piece merges with nothing.
  private mutating func consider(_ left: Int) {
    symbols[left].joint = -1
    let right = Int(symbols[left].next)
    let (first, second) = (symbols[left].own, symbols[right].own)
    guard first >= 0, second >= 0 else { return }
    let pair = PairMemory.Key(first, second)
    let known = pairs.recall(pair)
    let joint = known ?? pieces.id(of: bytes[text(left, to: symbols[right].next)]) ?? -1
    if known == nil { pairs.remember(pair, joint) }
    guard joint >= 0 else { return }
    symbols[left].joint = joint
    agenda.insert(key(joint, left))
  }

  private func key(_ id: Int32, _ left: Int) -> UInt64 { UInt64(ranks[Int(id)]) << 32 | UInt64(left) }
}

/// 2⁶⁴ over the golden ratio: the high bits of a product with it are a good hash.
private let goldenRatio: UInt64 = 0x9e37_79b9_7f4a_7c15

/// Pairs of pieces seen before, and the piece that they make. A pair takes the place of another of
/// the same hash.
private struct PairMemory: Sendable {
  private static let bits = 14
  private var pairs = [UInt64](repeating: .max, count: 1 << bits)
  private var joints = [Int32](repeating: -1, count: 1 << bits)

  /// Two pieces side by side.
  struct Key: Sendable {
    let bits: UInt64

    init(_ first: Int32, _ second: Int32) { bits = UInt64(first) << 32 | UInt64(second) }

    var slot: Int { Int(truncatingIfNeeded: (bits &* goldenRatio) >> (64 - PairMemory.bits)) }
  }

  /// The piece that two pieces make, -1 for none; nil if they were not seen before.
  func recall(_ pair: Key) -> Int32? { pairs[pair.slot] == pair.bits ? joints[pair.slot] : nil }

  mutating func remember(_ pair: Key, _ joint: Int32) {
    pairs[pair.slot] = pair.bits
    joints[pair.slot] = joint
  }
}

/// What short words came to: most of a text is a few thousand words that come again. A word takes
/// the place of another of the same hash.
private struct WordMemory: Sendable {
  /// A word of up to 31 bytes and, behind it, their number: two words are the same if their keys
  /// are.
  struct Key: Sendable {
    private(set) var bits = SIMD4<UInt64>()

    init?(_ word: [UInt8]) {
      guard word.count < 32 else { return nil }
      for at in word.indices { bits[at / 8] |= UInt64(word[at]) << (at % 8 * 8) }
      bits[3] |= UInt64(word.count) << 56
    }

    /// Each quarter times an odd number of its own, so that none hides another.
    var slot: Int {
      let mixed = bits &* [goldenRatio, goldenRatio &* 3, goldenRatio &* 5, goldenRatio &* 7]
      return Int(truncatingIfNeeded: (mixed[0] ^ mixed[1] ^ mixed[2] ^ mixed[3]) >> (64 - WordMemory.bits))
    }
  }

  private static let bits = 13
  /// Words are never empty, so zero marks a free slot.
  private var words = [SIMD4<UInt64>](repeating: .zero, count: 1 << bits)
  /// Up to four tokens a word, -1 behind the last.
  private var tokens = [SIMD4<Int32>](repeating: .zero, count: 1 << bits)

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
