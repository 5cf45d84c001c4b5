import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

@Suite("The text of an answer")
struct AnswerTextTests {
  let tokenizer: Tokenizer

  init() throws { tokenizer = try fixtureTokenizer() }

  /// What is given out token by token, and in the end.
  private func pieces(_ text: String, stops: [String] = []) -> (parts: [String], whole: String, stopped: Bool)
  {
    var answer = AnswerText(tokenizer, stops: stops)
    var parts: [String] = []
    for token in tokenizer.encode(text) where !answer.hasStopped { parts.append(answer.append(token)) }
    parts.append(answer.finish())
    return (parts, answer.whole, answer.hasStopped)
  }

  @Test("The parts come to the whole", arguments: ["One, two, three.", "  Zürich ☂ 🥧\n", "a", ""])
  func parts(text: String) {
    let answer = pieces(text)
    #expect(answer.whole == text)
    #expect(answer.parts.joined() == text)
  }

  @Test("A character of several byte tokens comes whole")
  func wholeCharacters() {
    let answer = pieces("🥧🥧")
    #expect(answer.parts.filter { !$0.isEmpty } == ["🥧", "🥧"])
  }

  @Test("The text ends before a stop, wherever tokens divide it")
  func stop() {
    let answer = pieces("One, two, three, four.", stops: ["wo, thr"])
    #expect(answer.stopped)
    #expect(answer.whole == "One, t")
    #expect(answer.parts.joined() == "One, t")
  }

  @Test("The earliest stop ends it, whichever is named first")
  func earliest() {
    #expect(pieces("One, two, three.", stops: ["three", "two"]).whole == "One, ")
  }

  @Test("What may be the beginning of a stop is held back, and given out once it is none")
  func heldBack() {
    var answer = AnswerText(tokenizer, stops: ["\n\nUser"])
    let given = tokenizer.encode("Yes\n\nNo").map { answer.append($0) }
    #expect(!given.dropLast().joined().contains("\n"))
    #expect(given.joined() == "Yes\n\nNo")
  }

  @Test("What was held back belongs to an answer that ends there")
  func heldBackAtTheEnd() {
    let answer = pieces("Yes\n", stops: ["\n\n"])
    #expect(answer.parts.joined() == "Yes\n")
    #expect(answer.whole == "Yes\n")
  }

  @Test("A stop that overlaps itself is found", arguments: ["aab", "xaaab", "aaaab"])
  func overlapping(text: String) {
    #expect(pieces(text, stops: ["aab"]).stopped)
  }

  @Test("Stops are compared scalar by scalar: another spelling of a letter is none")
  func spellings() {
    #expect(!pieces("cafe\u{301}", stops: ["caf\u{e9}"]).stopped)
  }

  @Test("An incomplete character ends as U+FFFD")
  func incomplete() {
    var answer = AnswerText(tokenizer, stops: [])
    // Byte pieces of the first half of 🥧.
    for token in tokenizer.encode("🥧").dropFirst().prefix(2) { #expect(answer.append(token).isEmpty) }
    #expect(answer.finish() == "\u{fffd}\u{fffd}")
  }
}
