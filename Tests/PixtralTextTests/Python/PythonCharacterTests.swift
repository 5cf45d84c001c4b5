import TestSupport
import Testing

@testable import PixtralText

/// What Python 3.11 knows of characters. The checksums are printed by
/// Tools/goldens/make_unicode_aliases.py, which asks Python.
@Suite("Characters as Python knows them")
struct PythonCharacterTests {
  @Test(
    "Names and aliases are found, in upper or lower case",
    arguments: [
      ("EM DASH", 0x2014), ("em dash", 0x2014), ("LINE FEED", 0xa), ("lf", 0xa), ("NULL", 0),
      ("BEL", 7), ("BELL", 0x1f514), ("TAG TILDE", 0xe007e), ("LATIN CAPITAL LETTER GHA", 0x1a2),
      ("VS16", 0xfe0f),
      ("VS17", 0xe0100), ("VARIATION SELECTOR-256", 0xe01ef), ("HANGUL SYLLABLE GA", 0xac00),
      ("CJK UNIFIED IDEOGRAPH-4E00", 0x4e00), ("CJK UNIFIED IDEOGRAPH-04E00", 0x4e00),
      ("cjk compatibility ideograph-f900", 0xf900), ("KHITAN SMALL SCRIPT CHARACTER-18B00", 0x18b00),
    ])
  func found(name: String, code: Int) { #expect(scalarPythonNames(name)?.value == UInt32(code)) }

  @Test(
    "Other names are not",
    arguments: [
      "", "EM  DASH", " EM DASH", "NO SUCH NAME", "KEYCAP DIGIT ONE", "VS257", "hangul syllable ga",
      "cjk unified ideograph-4e00", "CJK UNIFIED IDEOGRAPH-4e00", "CJK UNIFIED IDEOGRAPH-F900",
      "CJK UNIFIED IDEOGRAPH-31350", "TANGUT IDEOGRAPH-17000", "ARABIC SMALL LOW WORD SAKTA", "\u{fb01}",
    ])
  func notFound(name: String) { #expect(scalarPythonNames(name) == nil) }

  @Test("Every name is Python's, and leads to its character")
  func allNames() {
    var lines: [String] = []
    var lost: [String] = []
    for scalar in everyScalar {
      guard let name = pythonName(scalar) else { continue }
      lines.append("\(String(scalar.value, radix: 16)) \(name)")
      if scalarPythonNames(name) != scalar { lost.append(name) }
    }
    expectNone(lost, of: lines.count)
    #expect(checksum(lines) == 0x4c89_71ce_ea6f_3447)
  }

  @Test("Identifiers begin and go on with Python's characters")
  func identifiers() {
    let first = everyScalar.filter { isPythonIdentifier(String($0)) }
    let following = everyScalar.filter { isPythonIdentifier("a\($0)") }
    #expect(checksum(first.map(code)) == 0x6928_2998_9eb8_88e3)
    #expect(checksum(following.map(code)) == 0x42eb_d30a_efe4_a482)
  }

  @Test("White space is what str.isspace says")
  func space() {
    let expected = """
      9 a b c d 1c 1d 1e 1f 20 85 a0 1680 2000 2001 2002 2003 2004 2005 2006 2007 2008 2009 200a 2028 2029 202f \
      205f 3000
      """
    #expect(everyScalar.filter(isPythonSpace).map(code).joined(separator: " ") == expected)
  }

  @Test(
    "int reads decimal digits of any script, with single _ between them",
    arguments: [
      ("1", 1), (" +1\n", 1), ("-1", -1), ("1_0", 10), ("007", 7), ("٣", 3), ("１２", 12), ("\u{1c}1", 1),
      ("99999999999999999999", Int.max),
    ])
  func integers(text: String, number: Int) { #expect(pythonInteger(text) == number) }

  @Test(
    "and nothing else",
    arguments: ["", " ", "+", "1_", "_1", "1__0", "1 0", "1.0", "0x1", "½", "²", "一", "- 1"])
  func noIntegers(text: String) { #expect(pythonInteger(text) == nil) }

  private var everyScalar: [Unicode.Scalar] {
    (0...0x10ffff as ClosedRange<UInt32>).compactMap(Unicode.Scalar.init)
  }

  private func code(_ scalar: Unicode.Scalar) -> String { String(scalar.value, radix: 16) }

  /// FNV-1a of 64 bits over lines with their ends.
  private func checksum(_ lines: [String]) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for line in lines {
      for byte in line.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
      hash = (hash ^ 10) &* 0x100_0000_01b3
    }
    return hash
  }
}
