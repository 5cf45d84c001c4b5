import PixtralStorage

/// Tokens back to text, as they come: no character is given out by halves, and no space is lost.
/// Tokens.md 3.
///
/// What the parts come to is what `Tokenizer.decode` gives for all tokens at once: SentencePiece's
/// decoding, in which control tokens say nothing and the space that it puts before every text is
/// taken away again.
public struct TextStream: Sendable {
  private let vocabulary: Vocabulary
  private let firstByte: Int
  /// Bytes of byte pieces that may be the beginning of a character.
  private var pending: [UInt8] = []
  /// Whether a `▁` that comes now is the one in front of the text.
  private var isAtStart = true

  init(_ tokenizer: Tokenizer) {
    vocabulary = tokenizer.vocabulary
    firstByte = tokenizer.vocabulary.firstByte
  }

  /// The text that is certain once this token is there; it may be empty.
  ///
  /// - token: an id of the vocabulary.
  public mutating func append(_ token: Int) -> String {
    let piece = vocabulary.pieces[token]
    if piece.kind == .byte { return append(UInt8(token - firstByte)) }
    var text = finish()
    switch piece.kind {
    case .control, .unused, .byte: break
    case .unknown:
      // SentencePiece's sign for it, U+2047 between spaces.
      text += " \u{2047} "
      isAtStart = false
    case .normal, .userDefined:
      var surface = Substring(piece.text).unicodeScalars
      if isAtStart && surface.first == "▁" { surface.removeFirst() }
      isAtStart = isAtStart && piece.text.isEmpty
      for scalar in surface { text.unicodeScalars.append(scalar == "▁" ? " " : scalar) }
    }
    return text
  }

  /// What is left when no token follows: a U+FFFD for each byte of a character that never was
  /// completed.
  public mutating func finish() -> String {
    defer { pending = [] }
    return String(repeating: "\u{fffd}", count: pending.count)
  }

  private mutating func append(_ byte: UInt8) -> String {
    isAtStart = false
    pending.append(byte)
    var text = ""
    while !pending.isEmpty {
      switch UTF8Prefix(pending) {
      case .whole:
        text += String(decoding: pending, as: UTF8.self)
        pending = []
      case .partial: return text
      case .malformed:
        // The first byte begins no character; those behind it may.
        text += "\u{fffd}"
        let rest = pending.dropFirst()
        pending = []
        for byte in rest { text += append(byte) }
      }
    }
    return text
  }
}

/// What the bytes so far are of one character in UTF-8.
private enum UTF8Prefix {
  case whole, partial, malformed

  init(_ bytes: [UInt8]) {
    let count =
      switch bytes[0] {
      case 0x00..<0x80: 1
      case 0xc2..<0xe0: 2
      case 0xe0..<0xf0: 3
      case 0xf0..<0xf5: 4
      default: 0
      }
    guard bytes.count <= count, bytes.dropFirst().allSatisfy({ $0 & 0xc0 == 0x80 }) else {
      self = .malformed
      return
    }
    // Overlong forms, halves of surrogate pairs and what lies beyond U+10FFFF show in the second
    // byte.
    let second: ClosedRange<UInt8> =
      switch bytes[0] {
      case 0xe0: 0xa0...0xbf
      case 0xed: 0x80...0x9f
      case 0xf0: 0x90...0xbf
      case 0xf4: 0x80...0x8f
      default: 0x80...0xbf
      }
    if bytes.count > 1 && !second.contains(bytes[1]) {
      self = .malformed
    } else {
      self = bytes.count == count ? .whole : .partial
    }
  }
}

extension Tokenizer {
  /// Takes tokens one by one and gives the text they come to.
  public var textStream: TextStream { TextStream(self) }

  /// The text of tokens; control tokens say nothing.
  ///
  /// - Throws: `InputError` of kind `wrongTokens` for an id that is not in the vocabulary.
  public func decode(_ tokens: [Int]) throws -> String {
    var stream = textStream
    var text = ""
    for (index, token) in tokens.enumerated() {
      guard vocabulary.pieces.indices.contains(token) else { throw noToken("\(token)", at: index) }
      text += stream.append(token)
    }
    return text + stream.finish()
  }

  /// What a number that is no id of the vocabulary is refused with, however long it is.
  package func noToken(_ number: String, at index: Int) -> InputError {
    InputError(
      .wrongTokens, "token \(index)", expected: "an id from 0 to \(vocabulary.pieces.count - 1)",
      found: number, exception: "IndexError")
  }
}
