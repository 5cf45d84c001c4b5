import PixtralStorage
import Synchronization

/// The tokenizer of Pixtral Large: SentencePiece's byte-pair encoding over the model file
/// `mistral_instruct_tokenizer_241114.model.v7m1`. Tokens.md 2.
public final class Tokenizer: Sendable {
  /// The one file whose rules this code states: identity normalisation, a `▁` put in front, spaces
  /// written as `▁`, bytes for characters that have no piece. It is in Fixtures/tokenizer and in
  /// mistral-common's wheels.
  public static let fileName = "mistral_instruct_tokenizer_241114.model.v7m1"
  /// Bytes of that file.
  public static let byteCount = 587_562
  /// Its SHA-256, for people. So that a program which only tokenises needs no library for it, the
  /// file is known here by its size and `checksum`.
  public static let sha256 = "1b968b8dc352f42192367337c78ccc61e1eaddc6d641a579372d4f20694beb7a"
  private static let checksum: UInt64 = 0x97b2_df5b_4f31_9ae6

  package let vocabulary: Vocabulary
  /// The pieces that stand for themselves in text, in UTF-8.
  private let userDefined: [(text: [UInt8], id: Int)]
  /// As it is before any word.
  private let fresh: FastMerge
  /// One that is used call after call, and remembers words.
  private let reused: Mutex<FastMerge>

  /// Reads the model file.
  ///
  /// - Throws: `InputError` of kind `unreadableFile`, or `wrongTokenizer` if it is another file.
  public init(file path: String) throws {
    let file = try MappedFile(path)
    func refuse(_ found: String) -> InputError {
      InputError(
        .wrongTokenizer, path, expected: "\(Self.byteCount) bytes with SHA-256 \(Self.sha256)", found: found,
        advice: "take the file from Fixtures/tokenizer or from a mistral-common wheel")
    }
    guard file.bytes.count == Self.byteCount else { throw refuse("\(file.bytes.count) bytes") }
    guard file.withBytes(fnv1a) == Self.checksum else { throw refuse("other bytes") }
    vocabulary = try file.withBytes { try Vocabulary(model: $0, place: path) }
    userDefined = vocabulary.userDefined.map { (Array($0.text.utf8), $0.id) }
    fresh = FastMerge(vocabulary)
    reused = Mutex(fresh)
  }

  /// The tokens of one stretch of text; none for no text. Control pieces never come from it.
  ///
  /// `BytePairEncoding` is the definition. No piece has a `▁` behind another character, so that no
  /// merge crosses the beginning of a word: each word is merged on its own.
  public func encode(_ text: String) -> [Int] {
    if text.isEmpty { return [] }
    let bytes = text.utf8Span.span
    if let tokens = reused.withLockIfAvailable({ encode(bytes, &$0) }) { return tokens }
    // Another thread has it.
    var merge = fresh
    return encode(bytes, &merge)
  }

  private func encode(_ bytes: Span<UInt8>, _ word: inout FastMerge) -> [Int] {
    var tokens: [Int] = []
    word.append(spaceMark)
    var (at, afterSpace) = (0, true)
    while at < bytes.count {
      let byte = bytes[at]
      if byte == UInt8(ascii: "["),
        let piece = userDefined.first(where: { bytes.holds($0.text, at: at) })
      {
        word.finish(&tokens)
        tokens.append(piece.id)
        at += piece.text.count
        afterSpace = true
      } else if byte == UInt8(ascii: " ") || (byte == spaceMark[0] && bytes.holds(spaceMark, at: at)) {
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

  /// The pieces of tokens, control pieces and `▁` as they stand.
  public func pieces(of tokens: [Int]) -> [String] { tokens.map { vocabulary.pieces[$0].text } }

  /// The pieces of tokens one after another: mistral-common's `Tokenized.text`.
  public func text(of tokens: [Int]) -> String { pieces(of: tokens).joined() }
}

private let spaceMark = Array("▁".utf8)

extension Span<UInt8> {
  /// Whether these bytes stand at a place.
  fileprivate func holds(_ text: [UInt8], at start: Int) -> Bool {
    guard start + text.count <= count else { return false }
    return text.indices.allSatisfy { self[start + $0] == text[$0] }
  }
}

/// FNV-1a of 64 bits: not against forgery, but against another file.
private func fnv1a(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
  bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
}
