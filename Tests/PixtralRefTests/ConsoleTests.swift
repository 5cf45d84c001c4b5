import PixtralProgram
import PixtralStorage
import TestSupport
import Testing

@testable import pixtral_ref

/// What people read.
@Suite("The console")
struct ConsoleTests {
  @Test(arguments: [
    (0, "0"), (-0.0, "0"), (1, "1.0e+00"), (-3.44e-7, "-3.4e-07"), (9.96, "1.0e+01"), (1e100, "1.0e+100"),
    (.leastNonzeroMagnitude, "4.9e-324"), (.leastNormalMagnitude, "2.2e-308"),
    (.greatestFiniteMagnitude, "1.8e+308"), (.infinity, "inf"), (-.infinity, "-inf"), (.nan, "nan"),
    (-.nan, "nan"), (.signalingNaN, "nan"), (Double(bitPattern: 0x7ff8_0000_0000_1234), "nan"),
  ])
  func aNumberHasTwoDigitsAndAnExponent(value: Double, text: String) {
    #expect(Console.scientific(value) == text)
  }

  @Test(arguments: [
    (0, "0"), (-0.0, "0"), (1e-3, "0.0010"), (-0.29106, "-0.2911"), (99999.99999, "100000.0000"),
    (1e5, "1.0e+05"), (0.00099, "9.9e-04"), (.leastNonzeroMagnitude, "4.9e-324"), (-.infinity, "-inf"),
    (-.nan, "nan"),
  ])
  func aNumberOfUsualSizeHasFourDigitsBehindThePoint(value: Double, text: String) {
    #expect(Console.short(value) == text)
  }

  /// Random bits are numbers of every exponent, subnormal ones, infinities and NaNs too.
  @Test func whatIsPrintedIsTheNumberRounded() {
    var draw = Draw(seed: 1124)
    var wrong: [String] = []
    let exponents = [0, 0x7fe, 0x7ff] + (0..<10_000).map { _ in UInt64.random(in: 0...0x7ff, using: &draw) }
    for exponent in exponents {
      let value = Double(bitPattern: draw.next() & ~(0x7ff << 52) | exponent << 52)
      let (scientific, short) = (Console.scientific(value), Console.short(value))
      let isRight =
        if value.isFinite {
          isRounded(value, scientific)
            && ((1e-3..<1e5).contains(value.magnitude)
              ? isRounded(value, digits: 4, short) : short == scientific)
        } else {
          scientific == short && ["inf", "-inf", "nan"].contains(short)
        }
      if !isRight { wrong.append("\(value): \(scientific), \(short)") }
    }
    // Few of all numbers are of usual size.
    for _ in 0..<10_000 {
      let value = Double.random(in: -1e5...1e5, using: &draw)
      let short = Console.short(value)
      if value.magnitude >= 1e-3 && !isRounded(value, digits: 4, short) { wrong.append("\(value): \(short)") }
    }
    expectNone(wrong, of: exponents.count + 10_000)
  }

  @Test func whatATerminalWouldObeyIsWrittenOutAndALineFeedStays() {
    let text = Console.readable("a\u{1b}[31m\u{7f}\u{9b}31m\u{202e}\u{2028}\rb\tc\nd é 😀")
    #expect(
      String(decoding: text, as: UTF8.self)
        == #"a\u001b[31m\u007f\u009b31m\u202e\u2028\rb\tc"# + "\nd é 😀")
  }

  @Test func jsonThatIsPrintedIsTheSameJSON() throws {
    let value = JSON.string("\u{1b}\u{7f}\u{9b}\u{202e}\u{2028}\\u001b\n")
    let printed = String(decoding: Console.readable(value.text()), as: UTF8.self)
    #expect(!printed.unicodeScalars.contains { $0.properties.generalCategory == .control })
    #expect(try JSON(parsing: printed, place: "printed") == value)
  }

  @Test func aCellOfATableIsOneLineAndAsWideAsItLooks() {
    let rows = Console.table([["tap", "rows"], ["a\n\u{1b}b", "1"]])
    #expect(!rows.joined().contains("\n"))
    #expect(Set(rows.map(\.count)).count == 1)
  }

  /// Whether a text is a digit, a point, a digit and an exponent, nearest to a number.
  private func isRounded(_ value: Double, _ text: String) -> Bool {
    guard let match = text.wholeMatch(of: /(-?)([1-9]\.[0-9])e([+-][0-9]{2,3})/),
      let mantissa = Double(match.2), let exponent = Int(match.3)
    else { return false }
    // 10⁻³²⁴ is no Double, nor is 1.8·10³⁰⁸: the number is made larger or smaller first.
    let shift = exponent < 0 ? 100 : -100
    let unit = power(exponent + shift)
    let shifted = shift > 0 ? value.magnitude * 1e100 : value.magnitude / 1e100
    return (match.1 == "-") == (value < 0) && abs(mantissa * unit - shifted) <= 0.050_000_1 * unit
  }

  private func power(_ exponent: Int) -> Double { Double("1e\(exponent)")! }

  /// Whether a text has so many digits behind its point and is nearest to a number.
  private func isRounded(_ value: Double, digits: Int, _ text: String) -> Bool {
    guard let point = text.firstIndex(of: "."), text[point...].count == digits + 1, let read = Double(text)
    else { return false }
    return abs(read - value) <= 0.500_001 * power(-digits)
  }
}
