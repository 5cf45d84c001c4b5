import TestSupport
import Testing

@testable import PixtralStorage

@Suite("Errors")
struct InputErrorTests {
  @Test("A sentence stays on its line whatever the input says, and a terminal obeys nothing in it")
  func oneLine() {
    let error = InputError(.wrongRequest, "a\nb\u{2028}", expected: "c", found: "\u{1b}[31m\u{9b}\u{202e}")
    #expect("\(error)" == #"a\nb\u{2028}: expected c, found \u{1B}[31m\u{009B}\u{202E}"#)
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
