import TestSupport
import Testing

@testable import PixtralStorage

@Suite("Errors")
struct InputErrorTests {
  @Test("A sentence stays on its line whatever the input says, and a terminal obeys nothing in it")
  func oneLine() {
    let error = InputError(
      .wrongRequest, "a\nb\u{2028}", expected: "c", found: "\u{1b}[31m\u{9b}\u{202e}\r\0")
    #expect("\(error)" == #"a\nb\u2028: expected c, found \u001b[31m\u009b\u202e\r\u0000"#)
  }

  @Test("A sentence writes out what a string of JSON does, in the same way")
  func likeJSON() {
    for scalar in (0...0x10ffff as ClosedRange<UInt32>).lazy.compactMap(Unicode.Scalar.init) {
      if scalar == "\"" || scalar == "\\" { continue }
      let text = String(scalar)
      if JSON.string(text).text() != "\"\(onOneLine(text))\"" {
        Issue.record("U+\(String(scalar.value, radix: 16))")
      }
    }
  }

  @Test("Of what is long only a part is shown")
  func longTexts() {
    let long = String(repeating: "x", count: 100_000)
    #expect("\(InputError(.wrongRequest, "p", expected: "c", found: long))".utf8.count < 1_000)
    #expect("\(InputError(.wrongRequest, long, expected: "c", found: "f"))".utf8.count < 1_000)
  }

  @Test("A letter with a million accents is long too")
  func longCharacter() {
    let letter = "e" + String(repeating: "\u{301}", count: 1_000_000)
    #expect("\(InputError(.wrongRequest, "p", expected: "c", found: letter))".utf8.count < 1_000)
  }
}
