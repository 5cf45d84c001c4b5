import PixtralImage
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralText

/// What `re.compile` of CPython 3.11 says.
@Suite("Patterns that Python compiles")
struct PythonRegexTests {
  @Test(
    "Compiled",
    arguments: [
      "", "a|b|", "a*?b++c{2,3}+", "a{,3}", "a{", "a{}", "a{2,b}", "[]a]", "[^]a-]", "[a-z\\d-]",
      "(?P<n>a)(?P=n)", "(?:a)(?i:b)(?-i:c)",
      "(?#x)a", "a(?#x)*", "(?=a)*", "(?!)", "(?<=ab|cd)e", "(?<!a{3})b", "(a)\\1", "\\0\\07\\377",
      "\\x41\\u00e9\\U0001F600",
      "\\N{EM DASH}", "\\N{LINE FEED}[\\N{tab}]", "(?#\\))", "(?x)#\\\n(", "(?(1)a|b)(c)", "(a)(?(1)b)",
      "(?x) a # )\n b", "(?>a+)", "\\A\\b\\Z", "é\\é",
    ])
  func compiled(pattern: String) throws { try checkPythonRegex(pattern) }

  @Test(
    "Not compiled",
    arguments: [
      "(", ")", "a)", "[", "[a", "[z-a]", "[\\d-z]", "*", "a**", "^*", "\\b+", "(|*)", "a{3,2}", "(?P<1>a)",
      "(?P<n>a)(?P<n>b)", "(?P=n)",
      "\\1",
      "(\\1)", "\\q", "[\\q]", "\\x4", "\\u12", "\\U00110000", "\\N{NO SUCH NAME}", "\\400", "(?<=a+)b",
      "(?<=a|bc)d", "(?z)", "a(?i)",
      "(?i-i:a)",
      "(?<=a{4294967294}aa)", "(?t)a*", "\\N{ARABIC SMALL LOW WORD SAKTA}", "(?L)a", "(?au)", "(?(2)a)(b)",
      "(?(1)a|b|c)(d)", "(?", "(?#", "\\",
    ])
  func refused(pattern: String) {
    #expect(throws: PatternFault.malformed) { try checkPythonRegex(pattern) }
  }

  @Test(
    "A number beyond C's integers overflows",
    arguments: ["a{4294967295}", "a{2,4294967295}", "\\U80000000", "[\\UFFFFFFFF]"])
  func overflows(pattern: String) {
    #expect(throws: PatternFault.tooLargeNumber) { try checkPythonRegex(pattern) }
  }

  @Test("Groups nest no deeper than Python's calls")
  func nesting() throws {
    func nested(_ depth: Int) -> String {
      String(repeating: "(", count: depth) + String(repeating: ")", count: depth)
    }
    try checkPythonRegex(nested(489))
    #expect(throws: PatternFault.nestedTooDeep) { try checkPythonRegex(nested(490)) }
  }
}
