import PixtralStorage
import PixtralText
import TestSupport
import Testing

@Suite("System prompts")
struct SystemPromptTests {
  private func filled(_ template: String, today: String = "2024-03-01") throws -> String {
    var request = ChatRequest([.init(.user, [.text("Hello")])])
    try request.prepend(
      systemPrompt: template, name: "Pixtral", today: try #require(Day(today)), place: "system.txt")
    #expect(request.messages.map(\.role) == [.system, .user])
    guard case .text(let text) = request.messages[0].content[0] else { return "no text" }
    return text
  }

  @Test("The three fields are filled in")
  func fields() throws {
    #expect(
      try filled("I am {name}. Today is {today}, yesterday was {yesterday}.")
        == "I am Pixtral. Today is 2024-03-01, yesterday was 2024-02-29.")
  }

  @Test("Braces written twice are braces")
  func braces() throws {
    #expect(try filled(#"{{"a": {name}}}"#) == #"{"a": Pixtral}"#)
  }

  @Test("Line ends become line feeds, as Python reads a text file")
  func lineEnds() throws {
    #expect(try filled("a\r\nb\rc\n\r\r\n\nd\r") == "a\nb\nc\n\n\n\nd\n")
  }

  @Test("Spaces and letters of other scripts stay", arguments: ["Ü\n\n ☂ ", "\u{feff}\0\u{85}\u{2028}", ""])
  func others(text: String) throws {
    #expect(try filled(text) == text)
  }

  @Test(
    "A field of another name and a brace alone are refused",
    arguments: ["{date}", "{}", "{name", "}", "{name!r}"])
  func refused(template: String) throws {
    let error = try #require(throws: InputError.self) { try filled(template) }
    #expect(error.kind == .wrongRequest && error.place == "system.txt")
  }

  @Test(
    "The day before is right at the ends of months and years",
    arguments: [("2024-03-01", "2024-02-29"), ("2023-03-01", "2023-02-28"), ("2025-01-01", "2024-12-31")])
  func yesterday(day: String, before: String) throws {
    #expect("\(try #require(Day(day)).yesterday)" == before)
  }

  @Test(
    "What is no day is none",
    arguments: ["2024-02-30", "2024-2-3", "today", "24-02-03", "2024-13-01", "0000-01-01", ""])
  func noDay(text: String) {
    #expect(Day(text) == nil)
  }
}
