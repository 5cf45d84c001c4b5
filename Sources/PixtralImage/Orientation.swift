/// What a file says of how its picture is to be turned, in all the places where Pillow looks.
///
/// It is read to warn about, never applied: mistral-common does not apply it.
struct OrientationNotes {
  /// What stands under a name: bytes, or a text, which Pillow takes otherwise.
  enum Note {
    case bytes([UInt8])
    case text([UInt8])
  }

  /// The last of each name counts.
  private var notes: [String: Note] = [:]

  /// What stands under a name. Names that say nothing of orientation are not kept.
  subscript(name: String) -> Note? {
    get { notes[name] }
    set { if Self.names.contains(name) { notes[name] = newValue } }
  }

  private static let names: Set<String> = ["exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"]

  /// How Pillow's `ImageOps.exif_transpose` would turn the picture, from 2 to 8; nil if it would
  /// not, or if it would fail.
  var turn: Int? {
    guard let value = value, (2...8).contains(value) else { return nil }
    return value
  }

  private var value: Int? {
    switch exif {
    case .none: inXMP
    case .unreadable: nil
    case .block(let block):
      switch block.withUnsafeBytes(TIFF.orientation) {
      case .none: inXMP
      case .unreadable: nil
      case .value(let value): value
      }
    }
  }

  private enum Block {
    case none, unreadable
    case block([UInt8])
  }

  /// The EXIF block, without the words in front of it.
  private var exif: Block {
    var block: [UInt8]
    switch (notes["exif"], notes["Raw profile type exif"]) {
    case (.bytes(let bytes)?, _): block = bytes
    case (.text?, _): return .unreadable
    case (nil, .text(let text)?), (nil, .bytes(let text)?):
      // Three lines in front, then hexadecimal digits.
      let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      guard let bytes = bytes(ofHexadecimal: lines.dropFirst(3).joined()) else { return .unreadable }
      block = bytes
    case (nil, nil): return .none
    }
    let prefix = Array("Exif\0\0".utf8)
    for _ in 0..<2 where block.starts(with: prefix) { block.removeFirst(prefix.count) }
    return block.isEmpty ? .none : .block(block)
  }

  /// The digit of the first `tiff:Orientation`, as an attribute or as an element.
  private var inXMP: Int? {
    let xmp: [UInt8]
    switch (notes["XML:com.adobe.xmp"], notes["xmp"]) {
    case (.text(let text)?, _) where !text.isEmpty: xmp = text
    case (_, .bytes(let bytes)?): xmp = bytes
    default: return nil
    }
    let name = Array("tiff:Orientation".utf8)
    var rest = xmp[...]
    while let range = rest.firstRange(of: name) {
      rest = rest[range.upperBound...]
      let digit =
        rest.starts(with: #"=""#.utf8)
        ? rest.dropFirst(2) : rest.starts(with: ">".utf8) ? rest.dropFirst() : []
      if let digit = digit.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) {
        return Int(digit - UInt8(ascii: "0"))
      }
    }
    return nil
  }
}

/// Bytes from pairs of digits, as Python's `bytes.fromhex` reads them: white space may stand between
/// the pairs.
private func bytes(ofHexadecimal text: some Sequence<UInt8>) -> [UInt8]? {
  var bytes: [UInt8] = []
  var high: UInt8?
  for character in text {
    if let digit = Character(UnicodeScalar(character)).hexDigitValue.map(UInt8.init) {
      if let first = high { bytes.append(first << 4 | digit) }
      high = high == nil ? digit : nil
    } else if high != nil || !(character == 0x20 || (0x09...0x0d).contains(character)) {
      return nil
    }
  }
  return high == nil ? bytes : nil
}

/// The first directory of a TIFF, which is what EXIF is.
private enum TIFF {
  enum Orientation {
    case none
    /// Pillow fails, and looks nowhere else.
    case unreadable
    /// What it says; nil for what is no whole number.
    case value(Int?)
  }

  static func orientation(in bytes: UnsafeRawBufferPointer) -> Orientation {
    let file = ByteOrder(bytes)
    guard let file, let start = file.integer(4, 4) else { return .unreadable }
    guard let count = file.integer(start, 2) else { return .none }
    var total = 0
    // Of two tags the first counts, and nobody looks at the second.
    var seen: Set<Int> = []
    for entry in 0..<count {
      let at = start + 2 + entry * 12
      guard at + 12 <= bytes.count, let tag = file.integer(at, 2), let type = file.integer(at + 2, 2),
        let number = file.integer(at + 4, 4)
      else { return .none }
      guard !seen.contains(tag), let size = sizes[type].map({ $0 * number }), size > 0 else { continue }
      var place = at + 8
      if size > 4 {
        // More than the block may hold is passed over; what is not there ends the directory.
        total += size
        guard total <= bytes.count else { continue }
        place = file.integer(at + 8, 4) ?? 0
        guard place + size <= bytes.count else { return .none }
      }
      if tag == 0x0112 { return .value(file.number(place, type)) }
      seen.insert(tag)
    }
    return .none
  }

  /// Bytes of an element of each type.
  private static let sizes = [
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8,
  ]

  private struct ByteOrder {
    let bytes: UnsafeRawBufferPointer
    let isLittle: Bool

    /// nil for what is no TIFF. The marks are those that Pillow takes: 42 in either order, and one of
    /// BigTIFF's, which it does not see to be one.
    init?(_ bytes: UnsafeRawBufferPointer) {
      let marks: [[UInt8]] = [
        [0x49, 0x49, 0x2a, 0], [0x49, 0x49, 0, 0x2a], [0x4d, 0x4d, 0, 0x2a], [0x4d, 0x4d, 0x2a, 0],
        [0x4d, 0x4d, 0, 0x2b],
      ]
      guard marks.contains(where: { bytes.starts(with: $0) }) else { return nil }
      self.bytes = bytes
      isLittle = bytes[0] == 0x49
    }

    /// An integer without a sign.
    func bits(_ at: Int, _ count: Int) -> UInt64? {
      guard at + count <= bytes.count else { return nil }
      return (0..<count).reduce(0) { $0 << 8 | UInt64(bytes[at + (isLittle ? count - 1 - $1 : $1)]) }
    }

    func integer(_ at: Int, _ count: Int) -> Int? { bits(at, count).flatMap { Int(exactly: $0) } }

    /// The first element there, if it is a whole number.
    func number(_ at: Int, _ type: Int) -> Int? {
      func signed(_ at: Int, _ count: Int) -> Int? {
        bits(at, count).map { Int(Int64(bitPattern: $0 << (64 - 8 * count)) >> (64 - 8 * count)) }
      }
      func quotient(_ above: Int?, _ below: Int?) -> Int? {
        guard let above, let below, below != 0, above % below == 0 else { return nil }
        return above / below
      }
      return switch type {
      case 3, 4, 13, 16: integer(at, sizes[type] ?? 0)
      case 6, 8, 9: signed(at, sizes[type] ?? 0)
      case 5: quotient(integer(at, 4), integer(at + 4, 4))
      case 10: quotient(signed(at, 4), signed(at + 4, 4))
      case 11: bits(at, 4).flatMap { Int(exactly: Float(bitPattern: UInt32($0))) }
      case 12: bits(at, 8).flatMap { Int(exactly: Double(bitPattern: $0)) }
      // Bytes and letters are no numbers.
      default: nil
      }
    }
  }
}
