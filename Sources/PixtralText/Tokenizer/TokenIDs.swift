import PixtralStorage

extension Tokenizer {
  /// Ids of the vocabulary. What is no integer outranks an integer that is no id, wherever it is.
  package func ids(_ values: [PythonValue]) throws -> [Int] {
    let numbers = try values.map { value in
      guard case .integer(let digits) = value else {
        throw InputError(
          .wrongTokens, "tokens", expected: "integers", found: value.kindName, exception: "TypeError")
      }
      return digits
    }
    return try numbers.enumerated().map { index, digits in
      guard let token = Int(digits), vocabulary.pieces.indices.contains(token) else {
        throw noToken(digits, at: index)
      }
      return token
    }
  }

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
