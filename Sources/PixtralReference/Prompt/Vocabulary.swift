/// Ids that the V7 template and the image rule put into a prompt. They never come from text.
public enum V7Token: Int, Sendable {
  case beginOfSequence = 1
  case endOfSequence = 2
  case beginInstruction = 3
  case endInstruction = 4
  case toolCalls = 5
  case beginAvailableTools = 6
  case endAvailableTools = 7
  case beginToolResults = 8
  case endToolResults = 9
  case image = 10
  case prefix = 11
  case suffix = 13
  case imageBreak = 14
  case imageEnd = 15
  case beginSystemPrompt = 16
  case endSystemPrompt = 17
  case beginToolContent = 18
}

/// The pieces of a SentencePiece model, read from its own file format (a protocol-buffer message).
public struct Vocabulary: Sendable {
  /// What a piece is for, by its number in the file.
  public enum Kind: Int, Sendable {
    case normal = 1
    case unknown = 2
    case control = 3
    case userDefined = 4
    case unused = 5
    case byte = 6
  }

  public struct Piece: Sendable {
    public let text: String
    public let score: Float
    public let kind: Kind
  }

  /// Pieces by id.
  public let pieces: [Piece]

  /// Reads the pieces of a model. Of the message's fields only the first, repeated, matters here: a piece.
  ///
  /// - Throws: `InputError` of kind `wrongTokenizer`.
  public init(model bytes: UnsafeRawBufferPointer, place: String) throws {
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
            guard let known = Kind(rawValue: Int(truncatingIfNeeded: number)) else { throw ProtocolBuffer.Malformed() }
            kind = known
          default: break
          }
        }
        pieces.append(Piece(text: text, score: score, kind: kind))
      }
    } catch is ProtocolBuffer.Malformed {
      throw InputError(.wrongTokenizer, place, expected: "a SentencePiece model", found: "a message that does not parse")
    }
    self.pieces = pieces
  }
}

/// The wire format of protocol buffers, as far as reading needs it.
private enum ProtocolBuffer {
  struct Malformed: Error {}

  enum Value {
    case varint(UInt64)
    case fixed32(UInt32)
    case fixed64(UInt64)
    case bytes(UnsafeRawBufferPointer)
  }

  static func forEachField(_ bytes: UnsafeRawBufferPointer, _ body: (Int, Value) throws -> Void) throws {
    var at = 0
    func varint() throws -> UInt64 {
      var value: UInt64 = 0
      for shift in stride(from: UInt64(0), to: 64, by: 7) {
        guard at < bytes.count else { throw Malformed() }
        let byte = bytes[at]
        at += 1
        value |= UInt64(byte & 0x7f) << shift
        if byte < 0x80 { return value }
      }
      throw Malformed()
    }
    func take(_ count: UInt64) throws -> UnsafeRawBufferPointer {
      guard count <= bytes.count - at else { throw Malformed() }
      defer { at += Int(count) }
      return UnsafeRawBufferPointer(rebasing: bytes[at..<at + Int(count)])
    }
    while at < bytes.count {
      let tag = try varint()
      switch tag & 7 {
      case 0: try body(Int(tag >> 3), .varint(varint()))
      case 1: try body(Int(tag >> 3), .fixed64(take(8).loadUnaligned(as: UInt64.self)))
      case 2: try body(Int(tag >> 3), .bytes(take(varint())))
      case 5: try body(Int(tag >> 3), .fixed32(take(4).loadUnaligned(as: UInt32.self)))
      default: throw Malformed()
      }
    }
  }
}
