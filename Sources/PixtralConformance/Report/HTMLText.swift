import Glibc
import PixtralStorage

/// A text as text of a page or of XML, whatever is in it: marks of HTML, control characters, what turns the
/// direction of writing, code points that are no characters.
///
/// - keepingLines: line feeds stay.
func html(_ text: String, keepingLines: Bool = false) -> String {
  var escaped = ""
  for scalar in onOneLine(text, keepingLines: keepingLines).unicodeScalars {
    switch scalar {
    case "&": escaped += "&amp;"
    case "<": escaped += "&lt;"
    case ">": escaped += "&gt;"
    case "\"": escaped += "&quot;"
    case "'": escaped += "&#39;"
    case _ where scalar.value & 0xfffe == 0xfffe || (0xfdd0...0xfdef).contains(scalar.value):
      escaped += "\u{fffd}"
    default: escaped.unicodeScalars.append(scalar)
    }
  }
  return escaped
}

/// What a runtime says, which may turn the direction of writing: apart from the words around it.
///
/// - count: so many characters at most.
func theirs(_ text: String, to count: Int = 120) -> String {
  "<bdi>\(html(shortened(text, to: count)))</bdi>"
}

/// RFC 4648 with padding.
func base64(_ bytes: [UInt8]) -> String {
  let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  var text: [UInt8] = []
  text.reserveCapacity((bytes.count + 2) / 3 * 4)
  for start in stride(from: 0, to: bytes.count, by: 3) {
    let some = bytes[start..<min(start + 3, bytes.count)]
    let value = some.reduce(0) { $0 << 8 | UInt32($1) } << (8 * UInt32(3 - some.count))
    for place in 0..<4 {
      text.append(
        place > some.count ? UInt8(ascii: "=") : digits[Int(value >> (18 - 6 * UInt32(place)) & 63)])
    }
  }
  return String(decoding: text, as: UTF8.self)
}

/// A word of a shell's command that is the text, whatever is in it.
package func shellWord(_ text: String) -> String {
  let isPlain = text.utf8.allSatisfy {
    switch $0 {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: "-_./:,".utf8.contains($0)
    }
  }
  return isPlain && !text.isEmpty ? text : quoted(text)
}

/// The same in quotes.
package func quoted(_ text: String) -> String {
  // By scalars: an accent behind a quote makes one character of both.
  let quote: Unicode.Scalar = "'"
  return "'\(text.unicodeScalars.map { $0 == quote ? #"'\''"# : String($0) }.joined())'"
}

/// One digit before the point and one behind: `3.4e-07`.
func scientific(_ value: Double) -> String {
  value == 0 ? "0" : value.isFinite ? printed("%.1e", value) : numberText(value)
}

/// With so many digits behind the point.
func fixed(_ value: Double, _ digits: Int = 1) -> String { printed("%.\(digits)f", value) }

/// C's printf rounds right, whatever the number.
private func printed(_ format: String, _ value: Double) -> String {
  var text = [CChar](repeating: 0, count: 400)
  let count = withVaList([value]) { vsnprintf(&text, text.count, format, $0) }
  precondition((1..<Int32(text.count)).contains(count), "a number of few digits")
  return String(decoding: text[..<Int(count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// 12345 as 12,345.
func grouped(_ count: Int) -> String {
  let digits = Array("\(count)")
  var text = ""
  for (n, digit) in digits.enumerated() {
    if n > 0 && (digits.count - n) % 3 == 0 { text.append(",") }
    text.append(digit)
  }
  return text
}
