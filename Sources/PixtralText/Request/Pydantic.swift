import PixtralStorage

/// What pydantic, which reads requests for mistral-common, takes for a value of a type. Tokens.md
/// 5.3.
extension PythonValue {
  var isDictionary: Bool { if case .dictionary = self { true } else { false } }

  var asText: String? {
    if case .string(let value) = self, !value.hasHalfSurrogate { value.text } else { nil }
  }

  /// pydantic's lax boolean.
  var asBoolean: Bool? {
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

  /// pydantic's lax number: a boolean too, or a string of one with white space around it.
  var asNumber: Double? {
    switch self {
    case .boolean(let value): return value ? 1 : 0
    case .integer(let digits): return Double(digits)
    case .float(let value): return value
    case .string(let value):
      let groups = value.text.trimmed.split(separator: "_", omittingEmptySubsequences: false)
      // Swift reads hexadecimal numbers too, pydantic does not.
      let isDecimal = groups.allSatisfy {
        !$0.isEmpty && !$0.unicodeScalars.contains { "xXpP".unicodeScalars.contains($0) }
      }
      return isDecimal ? Double(groups.joined()) : nil
    default: return nil
    }
  }

  /// pydantic's lax whole number: `"5"`, `"1_000"` and `"5.0"` are some, `"5."` and `"1e3"` are
  /// none, and a float is one below 2^63.
  var asWholeNumber: Double? {
    guard case .string(let value) = self else {
      guard let number = asNumber, number == number.rounded(), number.isFinite else { return nil }
      if case .float = self { return number.magnitude < 0x1p63 ? number : nil }
      return number
    }
    let parts = value.text.trimmed.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    let unsigned = parts[0].hasPrefix("-") || parts[0].hasPrefix("+") ? parts[0].dropFirst() : parts[0]
    let groups = unsigned.split(separator: "_", omittingEmptySubsequences: false)
    guard
      groups.allSatisfy({
        !$0.isEmpty && $0.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      })
    else {
      return nil
    }
    guard parts.count == 1 || (!parts[1].isEmpty && parts[1].utf8.allSatisfy({ $0 == UInt8(ascii: "0") }))
    else { return nil }
    return Double((parts[0].hasPrefix("-") ? "-" : "") + groups.joined())
  }
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
