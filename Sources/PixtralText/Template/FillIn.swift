extension Tokenizer {
  /// A prompt and what follows the gap, for the model to fill in: the suffix first. Tokens.md 12.
  ///
  /// The suffix is encoded behind a character that keeps the space away which SentencePiece puts
  /// before a text.
  public func encode(_ request: FillInRequest) -> [Int] {
    let suffix = request.suffix.isEmpty ? [] : encode("☺" + request.suffix).dropFirst(2)
    return [V7Token.beginOfSequence.rawValue, V7Token.suffix.rawValue] + suffix
      + [V7Token.prefix.rawValue] + encode(request.prompt)
  }
}
