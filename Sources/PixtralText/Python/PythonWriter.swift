extension PythonValue {
  /// `json.dumps(value, ensure_ascii=False)`: a space behind commas and colons, Python's `repr` of
  /// floats.
  ///
  /// Half surrogates come out as U+FFFD: see `holdsHalfSurrogate`.
  package func dumped() -> String {
    var bytes: [UInt8] = []
    write(to: &bytes, compact: false)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// - compact: without spaces, as Python does not write it unless told.
  package func write(to bytes: inout [UInt8], compact: Bool) {
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

  /// Whether it holds an infinity or NaN, for which JSON has no word.
  package var holdsNonFinite: Bool {
    switch self {
    case .none, .boolean, .integer, .string: false
    case .float(let value): !value.isFinite
    case .list(let values): values.contains(where: \.holdsNonFinite)
    case .dictionary(let members): members.contains { $0.value.holdsNonFinite }
    }
  }

  /// Whether a string in it holds half of a surrogate pair.
  package var holdsHalfSurrogate: Bool {
    switch self {
    case .none, .boolean, .integer, .float: false
    case .string(let value): value.hasHalfSurrogate
    case .list(let values): values.contains(where: \.holdsHalfSurrogate)
    case .dictionary(let members): members.contains { $0.key.hasHalfSurrogate || $0.value.holdsHalfSurrogate }
    }
  }
}

/// A string as Python writes it: only quotes, backslashes and control characters are escaped.
package func writeJSONString(_ string: String, to bytes: inout [UInt8]) {
  bytes.append(UInt8(ascii: "\""))
  writeEscaped(string, to: &bytes)
  bytes.append(UInt8(ascii: "\""))
}

/// The same without quotes around it.
package func writeEscaped(_ string: String, to bytes: inout [UInt8]) {
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

/// Python's `repr` of a float: the shortest digits that read back as the same number, with an
/// exponent below 1e-4 and from 1e16 on.
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
    return
      "\(sign)\(digits.prefix(1))\(fraction.isEmpty ? "" : ".\(fraction)")"
      + "e\(exponent < 0 ? "-" : "+")\(magnitude)"
  }
  if point <= 0 { return "\(sign)0.\(String(repeating: "0", count: -point))\(digits)" }
  if digits.count <= point {
    return "\(sign)\(digits)\(String(repeating: "0", count: point - digits.count)).0"
  }
  return "\(sign)\(digits.prefix(point)).\(digits.dropFirst(point))"
}
