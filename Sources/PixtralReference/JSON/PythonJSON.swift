/// A value as Python's `json` module reads it, and its text as that module writes it.
///
/// The V7 template sends tools, and the arguments of tool calls, through Python's `json` on their way to the tokenizer, so that what Python does
/// to a number or an escape shows in the tokens. json-c, which reads our own files, has no integers beyond 64 bits, no `NaN`, no half surrogates
/// and drops the rest of a key after a NUL; the few rules of Python's module are therefore written out here.
enum PythonValue: Sendable, Equatable {
  case none
  case boolean(Bool)
  /// In decimal, with any number of digits.
  case integer(String)
  case float(Double)
  case string(PythonString)
  case list([PythonValue])
  /// Keys are unique; each stands where it was first met.
  case dictionary([Member])

  struct Member: Sendable, Equatable {
    let key: PythonString
    var value: PythonValue
  }

  /// The value of a key of a dictionary.
  subscript(key: String) -> PythonValue? {
    guard case .dictionary(let members) = self else { return nil }
    return members.first { $0.key.text == key }?.value
  }
}

/// A string that may, unlike Swift's, hold halves of surrogate pairs. Nothing that holds one is ever tokenized: pydantic refuses it, or the
/// tokenizer does.
struct PythonString: Sendable, Hashable {
  /// Each half written as U+FFFD.
  let text: String
  let hasHalfSurrogate: Bool

  init(_ text: String, hasHalfSurrogate: Bool = false) {
    self.text = text
    self.hasHalfSurrogate = hasHalfSurrogate
  }
}

/// What Python raises.
struct PythonException: Error {
  /// The name of the class.
  let type: String
  let message: String
}

// MARK: - Reading

extension PythonValue {
  /// `json.loads`: JSON with `NaN`, `Infinity` and `-Infinity`, any escape of a code unit, and the last value of a key that comes twice.
  ///
  /// - Throws: `PythonException` of type JSONDecodeError, ValueError (an integer of more than 4,300 digits) or RecursionError.
  init(parsing text: UnsafeRawBufferPointer) throws {
    var parser = PythonParser(text: text)
    if text.starts(with: [0xef, 0xbb, 0xbf]) { throw parser.malformed("a byte-order mark", at: 0) }
    parser.skipSpace()
    self = try parser.value(depth: 0)
    parser.skipSpace()
    guard parser.at == text.count else { throw parser.malformed("more text after the value", at: parser.at) }
  }

  init(parsing text: String) throws {
    var text = text
    self = try text.withUTF8 { try PythonValue(parsing: UnsafeRawBufferPointer($0)) }
  }
}

/// CPython's recursion limit is 1,000 calls; what the callers of `json` have taken of it is not known exactly.
private let deepestNesting = 990

private struct PythonParser {
  let text: UnsafeRawBufferPointer
  var at = 0

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
      let value = try value(depth: depth + 1)
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
      throw PythonException(type: "ValueError", message: "an integer of \(count) digits, more than the 4300 that Python reads")
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
    guard let unit = codeUnit() else { throw malformed("an escape \\u without four hexadecimal digits", at: start) }
    if UTF16.isLeadSurrogate(unit) {
      let afterLead = at
      if take("\\u"), let trail = codeUnit(), UTF16.isTrailSurrogate(trail) { return UTF16.decode(UTF16.EncodedScalar([unit, trail])) }
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

// MARK: - Writing

extension PythonValue {
  /// `json.dumps(value, ensure_ascii=False)`: a space behind commas and colons, Python's `repr` of floats.
  ///
  /// Half surrogates come out as U+FFFD: see `holdsHalfSurrogate`.
  func dumped() -> String {
    var bytes: [UInt8] = []
    write(to: &bytes, compact: false)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// - compact: without spaces, as Python does not write it unless told.
  func write(to bytes: inout [UInt8], compact: Bool) {
    func separate(_ separator: Unicode.Scalar) {
      bytes.append(UInt8(ascii: separator))
      if !compact { bytes.append(UInt8(ascii: " ")) }
    }
    switch self {
    case .none: bytes += "null".utf8
    case .boolean(let value): bytes += (value ? "true" : "false").utf8
    case .integer(let digits): bytes += digits.utf8
    case .float(let value): bytes += pythonRepr(value).utf8
    case .string(let value): writeJSONString(value.text, to: &bytes)
    case .list(let values):
      bytes.append(UInt8(ascii: "["))
      for (index, value) in values.enumerated() {
        if index > 0 { separate(",") }
        value.write(to: &bytes, compact: compact)
      }
      bytes.append(UInt8(ascii: "]"))
    case .dictionary(let members):
      bytes.append(UInt8(ascii: "{"))
      for (index, member) in members.enumerated() {
        if index > 0 { separate(",") }
        writeJSONString(member.key.text, to: &bytes)
        separate(":")
        member.value.write(to: &bytes, compact: compact)
      }
      bytes.append(UInt8(ascii: "}"))
    }
  }

  /// Whether a string in it holds half of a surrogate pair.
  var holdsHalfSurrogate: Bool {
    switch self {
    case .none, .boolean, .integer, .float: false
    case .string(let value): value.hasHalfSurrogate
    case .list(let values): values.contains(where: \.holdsHalfSurrogate)
    case .dictionary(let members): members.contains { $0.key.hasHalfSurrogate || $0.value.holdsHalfSurrogate }
    }
  }
}

/// A string as Python writes it: only quotes, backslashes and control characters are escaped.
func writeJSONString(_ string: String, to bytes: inout [UInt8]) {
  bytes.append(UInt8(ascii: "\""))
  writeEscaped(string, to: &bytes)
  bytes.append(UInt8(ascii: "\""))
}

/// The same without quotes around it.
func writeEscaped(_ string: String, to bytes: inout [UInt8]) {
  let isPlain = string.utf8.allSatisfy { $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }
  if isPlain { return bytes.append(contentsOf: string.utf8) }
  for byte in string.utf8 {
    switch byte {
    case UInt8(ascii: "\""): bytes += #"\""#.utf8
    case UInt8(ascii: "\\"): bytes += #"\\"#.utf8
    case 0x08: bytes += #"\b"#.utf8
    case 0x09: bytes += #"\t"#.utf8
    case 0x0a: bytes += #"\n"#.utf8
    case 0x0c: bytes += #"\f"#.utf8
    case 0x0d: bytes += #"\r"#.utf8
    case 0..<0x10: bytes += "\\u000\(String(byte, radix: 16))".utf8
    case 0x10..<0x20: bytes += "\\u00\(String(byte, radix: 16))".utf8
    default: bytes.append(byte)
    }
  }
}

/// Python's `repr` of a float: the shortest digits that read back as the same number, with an exponent below 1e-4 and from 1e16 on.
func pythonRepr(_ value: Double) -> String {
  if value.isNaN { return "NaN" }
  if value.isInfinite { return value < 0 ? "-Infinity" : "Infinity" }
  // Swift's description has the same digits, but not the same place for the change to exponents.
  let description = "\(value.magnitude)"
  let parts = description.split(separator: "e")
  let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
  var digits = String(mantissa[0]) + (mantissa.count > 1 ? String(mantissa[1]) : "")
  // The number is 0.DIGITS times ten to the `point`.
  var point = mantissa[0].count + (parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
  let leading = digits.prefix { $0 == "0" }.count
  digits = String(digits.dropFirst(leading))
  point -= leading
  while digits.last == "0" { digits.removeLast() }
  if digits.isEmpty { (digits, point) = ("0", 1) }

  let sign = value.sign == .minus ? "-" : ""
  let exponent = point - 1
  if exponent < -4 || exponent >= 16 {
    let fraction = digits.dropFirst()
    let magnitude = exponent.magnitude < 10 ? "0\(exponent.magnitude)" : "\(exponent.magnitude)"
    return "\(sign)\(digits.prefix(1))\(fraction.isEmpty ? "" : ".\(fraction)")e\(exponent < 0 ? "-" : "+")\(magnitude)"
  }
  if point <= 0 { return "\(sign)0.\(String(repeating: "0", count: -point))\(digits)" }
  if digits.count <= point { return "\(sign)\(digits)\(String(repeating: "0", count: point - digits.count)).0" }
  return "\(sign)\(digits.prefix(point)).\(digits.dropFirst(point))"
}
