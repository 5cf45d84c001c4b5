import Synchronization

/// The tokenizer of Pixtral Large: SentencePiece's byte-pair encoding over the model file `…241114.model.v7m1`.
public final class Tokenizer: Sendable {
  /// Of the one file whose rules this code states: identity normalisation, a `▁` put in front, spaces written as `▁`, bytes for
  /// characters that have no piece.
  public static let digest = "1b968b8dc352f42192367337c78ccc61e1eaddc6d641a579372d4f20694beb7a"
  public static let byteCount = 587_562
  public static let fileName = "mistral_instruct_tokenizer_241114.model.v7m1"

  public let vocabulary: Vocabulary
  /// Pieces that text becomes as they stand, such as `[REF]`, the longest first. All begin with `[`.
  private let userDefined: [(text: [UInt8], id: Int)]
  /// Id of the piece `<0x00>`; the other bytes follow it.
  let firstByte: Int
  /// As it is before any word.
  private let fresh: BytePairMerge
  /// One that is used call after call, and remembers words.
  private let reused: Mutex<BytePairMerge>

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
    let pieces = PieceTable(
      numbered.filter { $0.element.kind == .normal || $0.element.kind == .userDefined }.map { ($0.element.text, $0.offset) })
    userDefined = numbered.filter { $0.element.kind == .userDefined }.map { (Array($0.element.text.utf8), $0.offset) }
      .sorted { $0.text.count > $1.text.count }
    guard let byte = vocabulary.pieces.firstIndex(where: { $0.kind == .byte }) else {
      throw InputError(.wrongTokenizer, path, expected: "byte pieces", found: "none")
    }
    firstByte = byte
    fresh = BytePairMerge(pieces: pieces, ranks: Self.ranks(vocabulary.pieces.map(\.score)), firstByte: byte)
    reused = Mutex(fresh)
  }

  /// The tokens of one stretch of text; none for no text. Control pieces never come from it.
  ///
  /// No piece has a `▁` behind another character, so that no merge crosses the beginning of a word: each word is merged on its own.
  public func encode(_ text: String) -> [Int] {
    if text.isEmpty { return [] }
    var text = text
    return text.withUTF8 { bytes in
      if let tokens = reused.withLockIfAvailable({ encode(bytes, &$0) }) { return tokens }
      // Another thread has it.
      var merge = fresh
      return encode(bytes, &merge)
    }
  }

  private func encode(_ bytes: UnsafeBufferPointer<UInt8>, _ word: inout BytePairMerge) -> [Int] {
    var tokens: [Int] = []
    word.append(spaceMark)
    var (at, afterSpace) = (0, true)
    while at < bytes.count {
      let byte = bytes[at]
      if byte == UInt8(ascii: "["), let piece = userDefined.first(where: { bytes[at...].starts(with: $0.text) }) {
        word.finish(&tokens)
        tokens.append(piece.id)
        at += piece.text.count
        afterSpace = true
      } else if byte == UInt8(ascii: " ") || byte == spaceMark[0] && bytes[at...].starts(with: spaceMark) {
        if !afterSpace { word.finish(&tokens) }
        word.append(spaceMark)
        at += byte == UInt8(ascii: " ") ? 1 : spaceMark.count
        afterSpace = true
      } else {
        word.append(byte)
        at += 1
        afterSpace = false
      }
    }
    word.finish(&tokens)
    return tokens
  }

  /// The pieces of tokens, one after another, control pieces and `▁` as they stand: mistral-common's `Tokenized.text`.
  public func text(of tokens: [Int]) -> String { tokens.map { vocabulary.pieces[$0].text }.joined() }

  private static func ranks(_ scores: [Float]) -> [UInt32] {
    var ranks = [UInt32](repeating: 0, count: scores.count)
    let order = scores.indices.sorted { scores[$0] > scores[$1] }
    for (a, b) in zip(order, order.dropFirst()) { ranks[b] = ranks[a] + (scores[b] < scores[a] ? 1 : 0) }
    return ranks
  }
}

private let spaceMark = Array("▁".utf8)
