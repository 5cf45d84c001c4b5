import HeapModule

/// The tokenizer of Pixtral Large: SentencePiece's byte-pair encoding over the model file `…241114.model.v7m1`.
public struct Tokenizer: Sendable {
  /// Of the one file whose rules this code states: identity normalisation, a `▁` put in front, spaces written as `▁`, bytes for
  /// characters that have no piece.
  public static let digest = "1b968b8dc352f42192367337c78ccc61e1eaddc6d641a579372d4f20694beb7a"
  public static let byteCount = 587_562
  public static let fileName = "mistral_instruct_tokenizer_241114.model.v7m1"

  public let vocabulary: Vocabulary
  /// Pieces that text can become by merging: normal and user-defined ones.
  private let pieces: PieceTable
  /// Pieces that text becomes as they stand, such as `[REF]`, the longest first.
  private let userDefined: [[UInt8]]
  /// Id of the piece `<0x00>`; the other bytes follow it.
  private let firstByte: Int

  /// - path: the model file.
  /// - Throws: `InputError` if the file is not the one with the digest above.
  public init(file path: String) throws {
    let file = try MappedFile(path)
    let hash = SHA256()
    // The size first, for a digest of a large file takes its time.
    let hasSize = file.bytes.count == Self.byteCount
    if hasSize { file.withBytes { hash.update($0) } }
    let found = hash.hexDigest()
    guard found == Self.digest else {
      throw InputError(
        .wrongTokenizer, path, expected: "\(Self.byteCount) bytes with SHA-256 \(Self.digest)",
        found: hasSize ? found : "\(file.bytes.count) bytes",
        advice: "take the file from Fixtures/tokenizer or from a mistral-common wheel")
    }
    vocabulary = try file.withBytes { try Vocabulary(model: $0, place: path) }
    let numbered = vocabulary.pieces.enumerated()
    pieces = PieceTable(
      numbered.filter { $0.element.kind == .normal || $0.element.kind == .userDefined }.map { ($0.element.text, $0.offset) })
    userDefined = vocabulary.pieces.filter { $0.kind == .userDefined }.map { Array($0.text.utf8) }
      .sorted { $0.count > $1.count }
    guard let byte = vocabulary.pieces.firstIndex(where: { $0.kind == .byte }) else {
      throw InputError(.wrongTokenizer, path, expected: "byte pieces", found: "none")
    }
    firstByte = byte
  }

  /// The tokens of one stretch of text; none for no text. Control pieces never come from it.
  public func encode(_ text: String) -> [Int] {
    if text.isEmpty { return [] }
    var bytes = Array("▁".utf8)
    for byte in text.utf8 {
      if byte == UInt8(ascii: " ") { bytes.append(contentsOf: "▁".utf8) } else { bytes.append(byte) }
    }
    return bytes.withUnsafeBufferPointer { bytes in
      var symbols = split(bytes)
      merge(&symbols, bytes)
      var tokens: [Int] = []
      for symbol in symbols where symbol.count > 0 {
        let range = symbol.start..<symbol.start + symbol.count
        if let id = pieces.id(of: bytes[range]) {
          tokens.append(id)
        } else {
          tokens.append(contentsOf: bytes[range].map { firstByte + Int($0) })
        }
      }
      return tokens
    }
  }

  /// The pieces of tokens, one after another, control pieces and `▁` as they stand: mistral-common's `Tokenized.text`.
  public func text(of tokens: [Int]) -> String { tokens.map { vocabulary.pieces[$0].text }.joined() }

  /// A stretch of the text that is one piece so far; empty once it has been merged into the one before it.
  private struct Symbol {
    var start: Int
    var count: Int
    var previous: Int
    var next: Int
    /// A user-defined piece: it merges with nothing.
    let frozen: Bool
  }

  /// Two neighbours that together are a piece. The best score goes first, then the leftmost.
  private struct Pair: Comparable {
    let score: Float
    let left: Int
    let right: Int
    let count: Int

    static func < (a: Pair, b: Pair) -> Bool { a.score != b.score ? a.score < b.score : a.left > b.left }
  }

  /// One symbol a Unicode scalar (never a grapheme cluster: T-graphemes), or a user-defined piece.
  private func split(_ bytes: UnsafeBufferPointer<UInt8>) -> [Symbol] {
    var symbols: [Symbol] = []
    var at = 0
    while at < bytes.count {
      let defined = userDefined.first { bytes[at...].starts(with: $0) }
      let count = defined?.count ?? scalarLength(bytes[at])
      symbols.append(
        Symbol(start: at, count: count, previous: symbols.count - 1, next: symbols.count + 1, frozen: defined != nil))
      at += count
    }
    symbols[symbols.count - 1].next = -1
    return symbols
  }

  /// Joins the best pair until no two neighbours are a piece.
  private func merge(_ symbols: inout [Symbol], _ bytes: UnsafeBufferPointer<UInt8>) {
    var agenda = Heap<Pair>()
    func consider(_ left: Int, _ right: Int) {
      guard left >= 0, right >= 0, !symbols[left].frozen, !symbols[right].frozen else { return }
      let count = symbols[left].count + symbols[right].count
      let start = symbols[left].start
      guard let id = pieces.id(of: bytes[start..<start + count]) else { return }
      agenda.insert(Pair(score: vocabulary.pieces[id].score, left: left, right: right, count: count))
    }
    for right in symbols.indices.dropFirst() { consider(right - 1, right) }
    while let pair = agenda.popMax() {
      let (left, right) = (pair.left, pair.right)
      // One of the two has been merged otherwise since.
      if symbols[left].count == 0 || symbols[right].count == 0 { continue }
      if symbols[left].count + symbols[right].count != pair.count { continue }
      symbols[left].count = pair.count
      symbols[right].count = 0
      symbols[left].next = symbols[right].next
      if symbols[right].next >= 0 { symbols[symbols[right].next].previous = left }
      consider(symbols[left].previous, left)
      consider(left, symbols[left].next)
    }
  }
}

/// Bytes of the UTF-8 form of the scalar that begins with this byte.
private func scalarLength(_ lead: UInt8) -> Int {
  lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
}
