/// The wire format of protocol buffers, as far as reading needs it. Tokens.md 1.2.
enum ProtocolBuffer {
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
