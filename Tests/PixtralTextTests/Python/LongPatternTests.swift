import Testing

@testable import PixtralText

/// Patterns whose parts are read once each: otherwise these tests do not come to an end.
struct LongPatternTests {
  private func repeated(_ text: String, _ count: Int = 300_000) -> String {
    String(repeating: text, count: count)
  }

  @Test func aNameIsLookedUpAtOnce() throws {
    try checkPythonRegex(repeated("\\N{TAG TILDE}"))
    try checkPythonRegex("[" + repeated("\\N{VS256}\\N{HANGUL SYLLABLE GA}") + "]")
    #expect(throws: PatternFault.malformed) {
      try checkPythonRegex(repeated("\\N{TAG TILDE}") + "\\N{NO SUCH NAME}")
    }
  }

  @Test func aNumberIsReadOnce() throws {
    let digits = repeated("1", 2_000_000)
    try checkPythonRegex("a{" + digits)
    #expect(throws: PatternFault.malformed) { try checkPythonRegex("a{\(digits)}") }
    #expect(throws: PatternFault.malformed) { try checkPythonRegex("a{1,\(digits)}") }
    #expect(throws: PatternFault.malformed) { try checkPythonRegex("(a)(?(\(digits))b)") }
  }

  @Test func groupsAndTheirNamesAreKeptOnce() throws {
    try checkPythonRegex((0..<100_000).map { "(?P<n\($0)>a)(?P=n\($0))" }.joined())
    try checkPythonRegex("(a)" + repeated("(?(1)b|c)"))
    try checkPythonRegex(repeated("(?<=a)"))
  }
}
