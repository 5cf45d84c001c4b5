/// A JSON text, a token at a time, as RFC 8259 has it and no laxer: UTF-8 without a byte-order mark, no
/// halves of surrogate pairs, and no key twice in one object.
///
/// Nothing is kept of what has been read but the places of the keys of open objects, so that a text
/// costs little memory however it is made. Commas and colons are dealt with here: what `next` returns
/// between `.beginObject` and `.endObject` is a key and the tokens of its value, in turns.
///
/// Every error is an `InputError` of kind `malformedJSON`, with the byte at which the text is wrong.
package struct JSONReader {
  package enum Token: Sendable {
    case beginObject, endObject, beginArray, endArray
    /// A key of an object; its value comes next.
    case key(Literal)
    case string(Literal)
    case number(Literal)
    case bool(Bool)
    case null
    /// Nothing but white space is left.
    case end
  }

  /// Where a string without its quotes, or a number, stands in the text.
  package struct Literal: Sendable {
    fileprivate let start: UInt32
    fileprivate let count: UInt32
    /// Of a string: some of it is escaped. Of a number: it has a fraction or an exponent.
    fileprivate let isMarked: Bool
  }

  /// What may come next.
  private enum State { case value, keyOrEnd, valueOrEnd, commaOrEnd, end }

  /// An object or array that has not ended.
  private struct Container {
    let isObject: Bool
    /// Where its keys begin among those of all open objects.
    let firstKey: Int
    /// The keys by their hashes, where there are many: places in `keys`, counted from 1; 0 is free.
    var table: [UInt32] = []
  }

  /// serde_json, with which others read the headers of safetensors files, goes as deep.
  package static let deepestNesting = 127

  private let text: UnsafeRawBufferPointer
  private let place: String
  private let roundsIntegers: Bool
  /// The next byte to look at.
  package private(set) var offset = 0
  private var state = State.value
  private var containers: [Container] = []
  private var keys: [Literal] = []

  /// - text: must stay where it is for as long as the reader is used.
  /// - place: named in errors, a file or a line.
  /// - roundsIntegers: whether `number` takes integers beyond 64 bits, as the nearest double.
  package init(
    _ text: UnsafeRawBufferPointer, place: String, roundsIntegers: Bool = false
  ) throws(InputError) {
    (self.text, self.place, self.roundsIntegers) = (text, place, roundsIntegers)
    guard text.count < Int(Int32.max) else { throw refusal("\(text.count) bytes, more than 2 GiB") }
    do { _ = try UTF8Span(validating: text.bindMemory(to: UInt8.self).span) } catch {
      throw malformed("bytes that are no UTF-8", at: error.byteOffsets.lowerBound)
    }
  }

  package mutating func next() throws(InputError) -> Token {
    skipSpace()
    switch state {
    case .value: return try value()
    case .keyOrEnd: return byte == UInt8(ascii: "}") ? close() : try key()
    case .valueOrEnd: return byte == UInt8(ascii: "]") ? close() : try value()
    case .commaOrEnd:
      let isObject = containers[containers.count - 1].isObject
      if byte == UInt8(ascii: isObject ? "}" : "]") { return close() }
      guard take(",") else {
        if byte == nil { throw endOfText() }
        throw malformed(isObject ? "no comma and no } after a value" : "no comma and no ] after a value")
      }
      skipSpace()
      return isObject ? try key() : try value()
    case .end:
      guard offset == text.count else { throw malformed("more text after the value") }
      return .end
    }
  }

  /// Reads on to the end of a value whose first token has been read.
  package mutating func skip(_ first: Token) throws(InputError) {
    let depth = containers.count
    switch first {
    case .beginObject, .beginArray: while containers.count >= depth { _ = try next() }
    default: break
    }
  }

  /// The characters of a key or a string, escapes undone.
  package func string(_ literal: Literal) -> String {
    guard literal.isMarked else { return String(decoding: bytes(literal), as: UTF8.self) }
    return String(decoding: unescaped(literal), as: UTF8.self)
  }

  /// The value of a number without fraction and exponent; nil for others, and where 64 bits are too few.
  package func integer(_ literal: Literal) -> Int? {
    let digits = bytes(literal)
    guard !literal.isMarked else { return nil }
    let isNegative = digits[0] == UInt8(ascii: "-")
    var value = 0
    for digit in digits.dropFirst(isNegative ? 1 : 0) {
      let (tens, tooMany) = value.multipliedReportingOverflow(by: 10)
      let unit = Int(digit - UInt8(ascii: "0"))
      let (sum, tooLarge) =
        isNegative ? tens.subtractingReportingOverflow(unit) : tens.addingReportingOverflow(unit)
      if tooMany || tooLarge { return nil }
      value = sum
    }
    return value
  }

  /// A whole number from 0, written without a sign; nil for anything else, and where 63 bits are too few.
  package func size(_ literal: Literal) -> Int? {
    bytes(literal)[0] == UInt8(ascii: "-") ? nil : integer(literal)
  }

  /// A number as a value of a tree: exact if it is an integer, else the nearest double.
  ///
  /// - Throws: for an integer beyond 64 bits, and for what no double comes near.
  package func number(_ literal: Literal) throws(InputError) -> JSON {
    if let integer = integer(literal) { return .integer(integer) }
    guard literal.isMarked || roundsIntegers else {
      throw malformed("an integer beyond 64 bits", at: Int(literal.start))
    }
    guard let double = Double(String(decoding: bytes(literal), as: UTF8.self)), double.isFinite else {
      throw malformed("a number beyond the range of a double", at: Int(literal.start))
    }
    return .number(double)
  }

  /// What has been read from a byte on, the beginning of it, without what stands between values.
  package func excerpt(from start: Int) -> String {
    let read = text[start..<offset].drop { " \n\r\t,:".utf8.contains($0) }
    return String(decoding: read.prefix(200), as: UTF8.self)
  }

  // MARK: - Values

  private mutating func value() throws(InputError) -> Token {
    guard let first = byte else { throw endOfText() }
    state = containers.isEmpty ? .end : .commaOrEnd
    switch first {
    case UInt8(ascii: "{"):
      try open(isObject: true)
      return .beginObject
    case UInt8(ascii: "["):
      try open(isObject: false)
      return .beginArray
    case UInt8(ascii: "\""): return .string(try stringLiteral())
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try numberLiteral())
    case UInt8(ascii: "t") where take("true"): return .bool(true)
    case UInt8(ascii: "f") where take("false"): return .bool(false)
    case UInt8(ascii: "n") where take("null"): return .null
    default: throw malformed("\(shown(first)) where a value should begin")
    }
  }

  private mutating func open(isObject: Bool) throws(InputError) {
    guard containers.count < Self.deepestNesting else {
      throw malformed("more than \(Self.deepestNesting) levels of nesting")
    }
    offset += 1
    containers.append(Container(isObject: isObject, firstKey: keys.count))
    state = isObject ? .keyOrEnd : .valueOrEnd
  }

  private mutating func close() -> Token {
    offset += 1
    let container = containers.removeLast()
    keys.removeLast(keys.count - container.firstKey)
    state = containers.isEmpty ? .end : .commaOrEnd
    return container.isObject ? .endObject : .endArray
  }

  private mutating func key() throws(InputError) -> Token {
    guard let first = byte else { throw endOfText() }
    guard first == UInt8(ascii: "\"") else { throw malformed("\(shown(first)) where a key should begin") }
    let key = try stringLiteral()
    guard insert(key) else {
      throw malformed("the key \(string(key).prefix(100)) twice in one object", at: Int(key.start) - 1)
    }
    skipSpace()
    guard take(":") else { throw byte == nil ? endOfText() : malformed("no colon after a key") }
    state = .value
    return .key(key)
  }

  private mutating func numberLiteral() throws(InputError) -> Literal {
    let start = offset
    _ = take("-")
    // No digit follows a leading zero.
    if !take("0") { try digits(of: start) }
    var isInteger = true
    if take(".") {
      isInteger = false
      try digits(of: start)
    }
    if take("e") || take("E") {
      isInteger = false
      if !take("+") { _ = take("-") }
      try digits(of: start)
    }
    return Literal(start: UInt32(start), count: UInt32(offset - start), isMarked: !isInteger)
  }

  /// One digit or more.
  private mutating func digits(of start: Int) throws(InputError) {
    let first = offset
    while let byte, isDigit(byte) { offset += 1 }
    guard offset > first else { throw malformed("a number without a digit where one must be", at: start) }
  }

  private mutating func stringLiteral() throws(InputError) -> Literal {
    offset += 1
    let start = offset
    var hasEscapes = false
    while let byte {
      switch byte {
      case UInt8(ascii: "\""):
        offset += 1
        return Literal(start: UInt32(start), count: UInt32(offset - 1 - start), isMarked: hasEscapes)
      case UInt8(ascii: "\\"):
        hasEscapes = true
        try escape()
      case 0..<0x20: throw malformed("a control character inside a string")
      default: offset += 1
      }
    }
    throw endOfText()
  }

  private mutating func escape() throws(InputError) {
    let start = offset
    guard start + 1 < text.count else { throw endOfText() }
    guard text[start + 1] == UInt8(ascii: "u") else {
      guard simpleEscape(text[start + 1]) != nil else { throw malformed("an unknown escape") }
      offset += 2
      return
    }
    guard let unit = escapedUnit(start) else { throw malformed("\\u without four hexadecimal digits") }
    offset += 6
    guard UTF16.isSurrogate(unit) else { return }
    guard UTF16.isLeadSurrogate(unit), let trail = escapedUnit(offset), UTF16.isTrailSurrogate(trail) else {
      throw malformed("half of a surrogate pair", at: start)
    }
    offset += 6
  }

  // MARK: - Keys

  /// Adds a key to those of the innermost object; false if it has that key.
  private mutating func insert(_ key: Literal) -> Bool {
    let here = containers.count - 1
    let firstKey = containers[here].firstKey
    let count = keys.count - firstKey
    if count < 8 {
      for other in keys[firstKey...] where isSame(key, other) { return false }
    } else {
      if 2 * count >= containers[here].table.count { rebuildTable(here, count) }
      var slot = hash(key) & (containers[here].table.count - 1)
      while case let entry = containers[here].table[slot], entry != 0 {
        if isSame(key, keys[Int(entry) - 1]) { return false }
        slot = (slot + 1) & (containers[here].table.count - 1)
      }
      containers[here].table[slot] = UInt32(keys.count + 1)
    }
    keys.append(key)
    return true
  }

  /// A table for twice as many keys as there are, so that it is never more than half full.
  private mutating func rebuildTable(_ here: Int, _ count: Int) {
    var table = [UInt32](repeating: 0, count: max(32, 2 * containers[here].table.count))
    for index in containers[here].firstKey..<keys.count {
      var slot = hash(keys[index]) & (table.count - 1)
      while table[slot] != 0 { slot = (slot + 1) & (table.count - 1) }
      table[slot] = UInt32(index + 1)
    }
    containers[here].table = table
  }

  /// Byte for byte: Swift takes two spellings of `é` for one string, JSON does not.
  private func isSame(_ a: Literal, _ b: Literal) -> Bool {
    if a.isMarked || b.isMarked { return unescaped(a) == unescaped(b) }
    return a.count == b.count && bytes(a).elementsEqual(bytes(b))
  }

  private func hash(_ key: Literal) -> Int {
    var hasher = Hasher()
    if key.isMarked {
      unescaped(key).withUnsafeBytes { hasher.combine(bytes: $0) }
    } else {
      hasher.combine(bytes: bytes(key))
    }
    return hasher.finalize()
  }

  // MARK: - Bytes

  private var byte: UInt8? { offset < text.count ? text[offset] : nil }

  private mutating func take(_ word: StaticString) -> Bool {
    let word = UnsafeRawBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount)
    guard text.count - offset >= word.count, text[offset..<offset + word.count].elementsEqual(word) else {
      return false
    }
    offset += word.count
    return true
  }

  private mutating func skipSpace() {
    while let byte, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { offset += 1 }
  }

  private func bytes(_ literal: Literal) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: text[Int(literal.start)..<Int(literal.start) + Int(literal.count)])
  }

  /// The UTF-8 of a string whose escapes have been checked.
  private func unescaped(_ literal: Literal) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(Int(literal.count))
    var at = Int(literal.start)
    let end = at + Int(literal.count)
    while at < end {
      if text[at] != UInt8(ascii: "\\") || !literal.isMarked {
        result.append(text[at])
        at += 1
      } else if let unit = escapedUnit(at) {
        at += 6
        if let scalar = Unicode.Scalar(unit) {
          result += UTF8.encode(scalar)!
        } else if let trail = escapedUnit(at) {
          result += UTF8.encode(UTF16.decode(UTF16.EncodedScalar([unit, trail])))!
          at += 6
        }
      } else {
        if let byte = simpleEscape(text[at + 1]) { result.append(byte) }
        at += 2
      }
    }
    return result
  }

  /// The code unit of an escape `\uXXXX` that begins here; nil if none does.
  private func escapedUnit(_ at: Int) -> UInt16? {
    guard at + 6 <= text.count, text[at] == UInt8(ascii: "\\"), text[at + 1] == UInt8(ascii: "u") else {
      return nil
    }
    var unit: UInt16 = 0
    for digit in text[at + 2..<at + 6] {
      guard let value = hexadecimalDigit(digit) else { return nil }
      unit = unit << 4 | value
    }
    return unit
  }

  // MARK: - Errors

  private func endOfText() -> InputError { refusal("a text that ends before the value does") }

  private func malformed(_ found: String, at place: Int? = nil) -> InputError {
    refusal("\(found) at byte \(place ?? offset)")
  }

  private func refusal(_ found: String) -> InputError {
    let format = FileFormat(of: text)
    return InputError(
      .malformedJSON, place, expected: "JSON text in UTF-8", found: format?.name ?? found,
      advice: format?.advice ?? "")
  }
}

/// What an escape of two characters stands for; nil if it is none.
private func simpleEscape(_ byte: UInt8) -> UInt8? {
  switch byte {
  case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): byte
  case UInt8(ascii: "b"): 0x08
  case UInt8(ascii: "f"): 0x0c
  case UInt8(ascii: "n"): 0x0a
  case UInt8(ascii: "r"): 0x0d
  case UInt8(ascii: "t"): 0x09
  default: nil
  }
}

private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

private func hexadecimalDigit(_ byte: UInt8) -> UInt16? {
  switch byte {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt16(byte - UInt8(ascii: "0"))
  case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt16(byte - UInt8(ascii: "a") + 10)
  case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt16(byte - UInt8(ascii: "A") + 10)
  default: nil
  }
}

private func shown(_ byte: UInt8) -> String {
  (0x21...0x7e).contains(byte) ? "'\(UnicodeScalar(byte))'" : "byte \(byte)"
}
