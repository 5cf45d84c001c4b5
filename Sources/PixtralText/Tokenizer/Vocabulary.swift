import PixtralStorage

/// The pieces of a SentencePiece model, read from its own file format, a protocol-buffer message.
/// Tokens.md 1.
package struct Vocabulary: Sendable {
  /// What a piece is for, by its number in the file.
  package enum Kind: Int, Sendable {
    case normal = 1
    case unknown = 2
    case control = 3
    case userDefined = 4
    case unused = 5
    case byte = 6
  }

  package struct Piece: Sendable {
    package let text: String
    package let score: Float
    package let kind: Kind
  }

  /// Pieces by id.
  package let pieces: [Piece]
  /// Id of the piece `<0x00>`; the other bytes follow it.
  package let firstByte: Int
  /// Pieces that text becomes as they stand, such as `[REF]`, the longest first. All begin with
  /// `[`.
  package let userDefined: [(text: String, id: Int)]

  /// Bytes of the longest one.
  package let longestPiece: Int

  /// Reads the pieces of a model. Of the message's fields only the first, repeated, matters here: a
  /// piece.
  ///
  /// - Throws: `InputError` of kind `wrongTokenizer`.
  package init(model bytes: UnsafeRawBufferPointer, place: String) throws {
    var pieces: [Piece] = []
    do {
      try ProtocolBuffer.forEachField(bytes) { number, value in
        guard number == 1, case .bytes(let message) = value else { return }
        var (text, score, kind) = ("", Float(0), Kind.normal)
        try ProtocolBuffer.forEachField(message) { number, value in
          switch (number, value) {
          case (1, .bytes(let bytes)): text = String(decoding: bytes, as: UTF8.self)
          case (2, .fixed32(let bits)): score = Float(bitPattern: bits)
          case (3, .varint(let number)):
            guard let known = Kind(rawValue: Int(truncatingIfNeeded: number)) else {
              throw ProtocolBuffer.Malformed()
            }
            kind = known
          default: break
          }
        }
        pieces.append(Piece(text: text, score: score, kind: kind))
      }
    } catch is ProtocolBuffer.Malformed {
      throw InputError(
        .wrongTokenizer, place, expected: "a SentencePiece model", found: "a message that does not parse")
    }
    guard let byte = pieces.firstIndex(where: { $0.kind == .byte }) else {
      throw InputError(.wrongTokenizer, place, expected: "byte pieces", found: "none")
    }
    self.pieces = pieces
    longestPiece = pieces.map(\.text.utf8.count).max()!
    firstByte = byte
    userDefined = pieces.enumerated().filter { $0.element.kind == .userDefined }
      .map { ($0.element.text, $0.offset) }.sorted { $0.text.utf8.count > $1.text.utf8.count }
  }
}
