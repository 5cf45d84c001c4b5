import PixtralStorage

/// What pydantic, which reads requests for mistral-common, takes for a value of a type. Tokens.md
/// 5.3.
extension PythonValue {
  package var isDictionary: Bool { if case .dictionary = self { true } else { false } }

  package var asList: [PythonValue]? { if case .list(let values) = self { values } else { nil } }

  var asPythonString: PythonString? { if case .string(let value) = self { value } else { nil } }

  /// A string without halves of surrogate pairs.
  package var asText: String? {
    if case .string(let value) = self, !value.hasHalfSurrogate { value.text } else { nil }
  }

  /// pydantic's lax boolean.
  package var asBoolean: Bool? {
    switch self {
    case .boolean(let value): return value
    case .integer("1"), .float(1): return true
    case .integer("0"), .float(0): return false
    case .string(let value):
      switch value.text.lowercased() {
      case "1", "on", "t", "true", "y", "yes": return true
      case "0", "off", "f", "false", "n", "no": return false
      default: return nil
      }
    default: return nil
    }
  }

  /// pydantic's lax number: a boolean too, or a string of one, either with white space around it or
  /// with single `_` inside. Tokens.md 5.13.
  package var asNumber: Double? {
    switch self {
    case .boolean(let value): return value ? 1 : 0
    case .integer(let digits): return Double(digits)
    case .float(let value): return value
    case .string(let value):
      let parts = value.text.split(separator: "_", omittingEmptySubsequences: false)
      let groups = parts.count > 1 ? parts : [Substring(value.text.trimmed)]
      // Swift reads hexadecimal numbers too, pydantic does not.
      let isDecimal = groups.allSatisfy {
        !$0.isEmpty && !$0.unicodeScalars.contains { "xXpP".unicodeScalars.contains($0) }
      }
      return isDecimal ? Double(groups.joined()) : nil
    default: return nil
    }
  }

  /// pydantic's lax whole number: `"5"`, `"1_000"` and `"5.0"` are some, `"5."` and `"1e3"` are
  /// none, and a float is one below 2^63. What is too large for a Double is an infinity.
  package var asWholeNumber: Double? {
    switch self {
    case .integer(let digits): return Double(digits)
    case .float(let value): return value == value.rounded() && value.magnitude < 0x1p63 ? value : nil
    case .string(let value): return wholeNumber(value.text.trimmed.utf8[...])
    default: return asNumber
    }
  }
}

/// Digits with single `_` between them, a sign, and a point with zeros behind it. Tokens.md 5.14.
private func wholeNumber(_ text: Substring.UTF8View) -> Double? {
  let parts = text.split(separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
  let isZero = { $0 == UInt8(ascii: "0") }
  guard parts.count == 1 || (!parts[1].isEmpty && parts[1].allSatisfy(isZero)) else { return nil }
  let isSigned = parts[0].first == UInt8(ascii: "-") || parts[0].first == UInt8(ascii: "+")
  let groups = (isSigned ? parts[0].dropFirst() : parts[0])
    .split(separator: UInt8(ascii: "_"), omittingEmptySubsequences: false)
  let isNumber = groups.allSatisfy { group in
    !group.isEmpty && group.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
  }
  let digits = groups.joined().drop(while: isZero)
  guard isNumber, digits.count <= 4300 else { return nil }
  return Double(
    (parts[0].first == UInt8(ascii: "-") ? "-" : "") + "0" + String(decoding: digits, as: UTF8.self))
}

extension String {
  /// Without white space at both ends.
  var trimmed: String {
    var scalars = Substring(self).unicodeScalars
    while scalars.first?.properties.isWhitespace == true { scalars.removeFirst() }
    while scalars.last?.properties.isWhitespace == true { scalars.removeLast() }
    return String(scalars)
  }
}
