extension Tokenizer {
  /// How many ids there are.
  package var count: Int { vocabulary.pieces.count }

  /// Bytes of the longest text that is one token.
  package var longestPiece: Int { vocabulary.longestPiece }

  /// What a token says on its own: its text, `▁` as a space, and the bytes of it; of a byte that is no
  /// character a U+FFFD. A control token has its name, and no bytes.
  ///
  /// - id: of the vocabulary.
  package func spelling(of id: Int) -> (text: String, bytes: [UInt8]?) {
    let piece = vocabulary.pieces[id]
    if piece.kind == .byte {
      let bytes = [UInt8(id - vocabulary.firstByte)]
      return (String(decoding: bytes, as: UTF8.self), bytes)
    }
    if piece.kind == .control { return (piece.text, nil) }
    let text = piece.text.replacing("▁", with: " ")
    return (text, Array(text.utf8))
  }
}
