// How a text that comes out of an input is shown. Sentences, tables and JSON write the same characters
// out, in the same way, so that a sentence is the same text on a terminal and in an answer of JSON.

/// A text of at most so many characters: of a longer one the beginning and the end.
package func shortened(_ text: String, to count: Int = 80) -> String {
  // By scalars: a grapheme cluster has no largest size.
  let scalars = text.unicodeScalars
  guard
    scalars.index(scalars.startIndex, offsetBy: count, limitedBy: scalars.endIndex) ?? scalars.endIndex
      < scalars.endIndex
  else { return text }
  return String(scalars.prefix(count * 2 / 3)) + "…" + String(scalars.suffix(count / 3))
}

/// A text in which `controlEscape` has written out what a terminal would obey: it stays a line.
///
/// - keepingLines: line feeds stay.
package func onOneLine(_ text: String, keepingLines: Bool = false) -> String {
  if text.utf8.allSatisfy({ (0x20..<0x7f).contains($0) }) { return text }
  var line = ""
  for scalar in text.unicodeScalars {
    if let escape = controlEscape(scalar), !(keepingLines && scalar == "\n") {
      line += escape
    } else {
      line.unicodeScalars.append(scalar)
    }
  }
  return line
}

/// A control character, the end of a line or a paragraph, or what turns the direction of writing, as a
/// string of JSON has it: `\n`, `\u001b`. nil for others, which stand for themselves.
package func controlEscape(_ scalar: Unicode.Scalar) -> String? {
  switch scalar {
  case " "..."~": return nil
  case "\u{8}": return #"\b"#
  case "\u{c}": return #"\f"#
  case "\n": return #"\n"#
  case "\r": return #"\r"#
  case "\t": return #"\t"#
  default: break
  }
  switch scalar.properties.generalCategory {
  case .control, .lineSeparator, .paragraphSeparator: break
  default: if !scalar.properties.isBidiControl { return nil }
  }
  // All of these are below U+10000.
  let digits = String(scalar.value, radix: 16)
  return #"\u"# + String(repeating: "0", count: 4 - digits.utf8.count) + digits
}

/// A number in full. A NaN is `nan`, whatever its sign and its payload are.
package func numberText(_ value: Double) -> String { value.isNaN ? "nan" : "\(value)" }
