import PixtralStorage

/// What Python raises.
struct PythonException: Error {
  /// The name of the class.
  let type: String
  let message: String
}

extension PythonValue {
  /// `json.loads`: JSON with `NaN`, `Infinity` and `-Infinity`, any escape of a code unit, and the
  /// last value of a key that comes twice.
  ///
  /// - Throws: `PythonException` of type JSONDecodeError, ValueError (an integer of more than 4,300
  ///   digits) or RecursionError.
  init(parsing text: UnsafeRawBufferPointer) throws { self = try Self.parsing(text, locating: []).value }

  private static func parsing(
    _ text: UnsafeRawBufferPointer, locating path: [String], values: Int = .max
  ) throws -> (value: PythonValue, range: Range<Int>?) {
    var parser = PythonParser(text: text, path: path, values: values)
    if text.starts(with: [0xef, 0xbb, 0xbf]) { throw parser.malformed("a byte-order mark", at: 0) }
    parser.skipSpace()
    let value = try parser.value(depth: 0)
    parser.skipSpace()
    guard parser.at == text.count else { throw parser.malformed("more text after the value", at: parser.at) }
    return (value, parser.located)
  }

  /// The same of a string.
  init(parsing text: String) throws {
    var text = text
    self = try text.withUTF8 { try PythonValue(parsing: UnsafeRawBufferPointer($0)) }
  }

  /// Parses a text, naming the place in errors.
  ///
  /// - values: so many at most, with those inside others: text such as `[{},{},…]` takes many times its
  ///   memory as a tree.
  package init(json: UnsafeRawBufferPointer, place: String, values: Int = .max) throws {
    self = try Self.locating([], in: json, place: place, values: values).value
  }

  /// The same, and where in the text the value of a key of a key stands: what is sent on as it came.
  ///
  /// - path: the keys, from the outermost object on.
  package static func locating(
    _ path: [String], in json: UnsafeRawBufferPointer, place: String, values: Int = .max
  ) throws -> (value: PythonValue, range: Range<Int>?) {
    func refuse(_ found: String, _ exception: String) -> InputError {
      let format = FileFormat(of: json)
      return InputError(
        .malformedJSON, place, expected: "JSON text in UTF-8", found: format?.name ?? found,
        advice: format?.advice ?? "", exception: exception)
    }
    guard isUTF8(json) else { throw refuse("bytes that are no UTF-8", "UnicodeDecodeError") }
    do { return try parsing(json, locating: path, values: values) } catch let exception as PythonException {
      throw refuse(exception.message, exception.type)
    }
  }
}

/// CPython's recursion limit is 1,000 calls; what the callers of `json` have taken of it is not
/// known exactly.
private let deepestNesting = 990

private struct PythonParser {
  let text: UnsafeRawBufferPointer
  /// Keys of a value whose place is wanted, how many of them lead to where the parser is, and the place.
  let path: [String]
  private var onPath = 0
  private(set) var located: Range<Int>?
  var at = 0
  /// How many values may still come.
  private var room: Int
  private let limit: Int

  init(text: UnsafeRawBufferPointer, path: [String], values limit: Int) {
    (self.text, self.path) = (text, path)
    (room, self.limit) = (limit, limit)
  }

  func malformed(_ found: String, at place: Int) -> PythonException {
    PythonException(type: "JSONDecodeError", message: "\(found) at byte \(place)")
  }

  private var next: UInt8? { at < text.count ? text[at] : nil }

  private mutating func take(_ word: StaticString) -> Bool {
    let word = UnsafeRawBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount)
    guard text[at...].starts(with: word) else { return false }
    at += word.count
    return true
  }

  mutating func skipSpace() {
    while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { at += 1 }
  }

  mutating func value(depth: Int) throws -> PythonValue {
    guard depth < deepestNesting else {
      throw PythonException(type: "RecursionError", message: "more than \(deepestNesting) levels of nesting")
    }
    room -= 1
    guard room >= 0 else {
      throw PythonException(type: "JSONDecodeError", message: "more than \(limit) values")
    }
    guard let first = next else { throw malformed("the end where a value should be", at: at) }
    switch first {
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "{"): return try dictionary(depth: depth)
    case UInt8(ascii: "["): return try list(depth: depth)
    case UInt8(ascii: "n") where take("null"): return .none
    case UInt8(ascii: "t") where take("true"): return .boolean(true)
    case UInt8(ascii: "f") where take("false"): return .boolean(false)
    case UInt8(ascii: "N") where take("NaN"): return .float(.nan)
    case UInt8(ascii: "I") where take("Infinity"): return .float(.infinity)
    case UInt8(ascii: "-") where take("-Infinity"): return .float(-.infinity)
    default: return try number()
    }
  }

  private mutating func list(depth: Int) throws -> PythonValue {
    at += 1
    var values: [PythonValue] = []
    skipSpace()
    if take("]") { return .list(values) }
    while true {
      values.append(try value(depth: depth + 1))
      skipSpace()
      if take("]") { return .list(values) }
      guard take(",") else { throw malformed("no comma and no bracket after a value", at: at) }
      skipSpace()
    }
  }

  private mutating func dictionary(depth: Int) throws -> PythonValue {
    at += 1
    var members: [PythonValue.Member] = []
    var places: [PythonString: Int] = [:]
    skipSpace()
    if take("}") { return .dictionary(members) }
    while true {
      guard next == UInt8(ascii: "\"") else { throw malformed("no key in double quotes", at: at) }
      let key = try string()
      skipSpace()
      guard take(":") else { throw malformed("no colon after a key", at: at) }
      skipSpace()
      let start = at
      let leads = onPath == depth && depth < path.count && key.text == path[depth]
      if leads { onPath += 1 }
      let value = try value(depth: depth + 1)
      if leads {
        onPath = depth
        if depth == path.count - 1 { located = start..<at }
      }
      if let place = places[key] {
        members[place].value = value
      } else {
        places[key] = members.count
        members.append(.init(key: key, value: value))
      }
      skipSpace()
      if take("}") { return .dictionary(members) }
      guard take(",") else { throw malformed("no comma and no brace after a value", at: at) }
      skipSpace()
    }
  }

  private mutating func digits() -> Int {
    let start = at
    while let byte = next, isDigit(byte) { at += 1 }
    return at - start
  }

  /// An integer, or a float if a fraction or an exponent follows; the longest that there is.
  private mutating func number() throws -> PythonValue {
    let start = at
    let negative = take("-")
    let firstDigit = next
    let count = firstDigit == UInt8(ascii: "0") ? 1 : digits()
    if firstDigit == UInt8(ascii: "0") { at += 1 }
    guard count > 0 else { throw malformed("no value", at: start) }
    var end = at
    var isFloat = false
    if take("."), digits() > 0 { (end, isFloat) = (at, true) } else { at = end }
    if take("e") || take("E") {
      if !take("+") { _ = take("-") }
      if digits() > 0 { (end, isFloat) = (at, true) }
    }
    at = end
    let literal = String(decoding: text[start..<end], as: UTF8.self)
    if isFloat { return .float(Double(literal) ?? .nan) }
    guard count <= 4300 else {
      throw PythonException(
        type: "ValueError", message: "an integer of \(count) digits, more than the 4300 that Python reads")
    }
    return .integer(negative && literal == "-0" ? "0" : literal)
  }

  private mutating func string() throws -> PythonString {
    let opening = at
    at += 1
    var start = at
    var decoded: [UInt8] = []
    var hasHalfSurrogate = false
    while let byte = next {
      if byte == UInt8(ascii: "\"") {
        let rest = UnsafeRawBufferPointer(rebasing: text[start..<at])
        at += 1
        if decoded.isEmpty { return PythonString(String(decoding: rest, as: UTF8.self)) }
        decoded += rest
        return PythonString(String(decoding: decoded, as: UTF8.self), hasHalfSurrogate: hasHalfSurrogate)
      }
      guard byte >= 0x20 else { throw malformed("a control character in a string", at: at) }
      guard byte == UInt8(ascii: "\\") else {
        at += 1
        continue
      }
      decoded += text[start..<at]
      let scalar = try escape()
      hasHalfSurrogate = hasHalfSurrogate || scalar == nil
      decoded += UTF8.encode(scalar ?? "\u{fffd}")!
      start = at
    }
    throw malformed("a string without end", at: opening)
  }

  /// The character of an escape; nil for half of a surrogate pair.
  private mutating func escape() throws -> Unicode.Scalar? {
    let start = at
    at += 1
    guard let byte = next else { throw malformed("a string without end", at: start) }
    at += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{c}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): break
    default: throw malformed("an unknown escape", at: start)
    }
    guard let unit = codeUnit() else {
      throw malformed("an escape \\u without four hexadecimal digits", at: start)
    }
    if UTF16.isLeadSurrogate(unit) {
      let afterLead = at
      if take("\\u"), let trail = codeUnit(), UTF16.isTrailSurrogate(trail) {
        return UTF16.decode(UTF16.EncodedScalar([unit, trail]))
      }
      at = afterLead
    }
    return Unicode.Scalar(unit)
  }

  private mutating func codeUnit() -> UInt16? {
    guard at + 4 <= text.count else { return nil }
    var unit: UInt16 = 0
    for byte in text[at..<at + 4] {
      guard let digit = hexadecimalDigit(byte) else { return nil }
      unit = unit << 4 | digit
    }
    at += 4
    return unit
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
