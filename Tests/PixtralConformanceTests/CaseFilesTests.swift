import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralConformance

@Suite("Cases, read")
struct CaseFilesTests {
  private func all() throws -> [ConformanceCase] { try CaseFiles("\(fixtures)/cases").cases }

  @Test("Every case of Fixtures is read once, in the order of the stages")
  func wholeFixtures() throws {
    let cases = try all()
    #expect(Set(cases.map(\.id)).count == cases.count)
    #expect(
      Stage.allCases.map { stage in cases.count { $0.stage == stage } } == [
        286, 4059, 8271, 109, 11, 5, 130, 0,
      ])
    #expect(
      cases.map(\.stage) == Stage.allCases.flatMap { stage in cases.map(\.stage).filter { $0 == stage } })
  }

  @Test("Texts come before the requests that hold them, and small models before large ones")
  func topics() throws {
    var topics: [String] = []
    for question in try all() where [.tokens, .model].contains(question.stage) {
      let topic = String(question.id.split(separator: "/")[1])
      if topics.last != topic { topics.append(topic) }
    }
    #expect(
      topics == ["text", "decode", "request", "openai", "fim", "truncation", "tiny", "small", "large"])
  }

  @Test("What shows a rule comes before what is drawn at random")
  func rulesFirst() throws {
    let texts = try all().map(\.id).filter { $0.hasPrefix("tokens/text/") }
    let firstRandom = try #require(texts.firstIndex { $0.hasPrefix("tokens/text/random-") })
    #expect(texts[firstRandom...].allSatisfy { $0.hasPrefix("tokens/text/random-") })
    #expect(firstRandom > 90)
  }

  @Test("A row of a table fills the placeholders of its suite")
  func tableRow() throws {
    let question = try #require(all().first { $0.id == "image/grid/1025x49" })
    #expect(question.title == "An image of 1025×49 pixels has a grid of 64×4 patches.")
    #expect(question.inputs == ["width": .integer("1025"), "height": .integer("49")])
    #expect(question.expect == ["columns": .integer("64"), "rows": .integer("4")])
    #expect(question.exposes == ["G-floor"])
  }

  @Test("A request is kept as it is written, with half of a surrogate pair")
  func writtenRequest() throws {
    let question = try #require(all().first { $0.id == "tokens/request/reject-image-half" })
    let text = String(decoding: try #require(question.request), as: UTF8.self)
    #expect(text.hasPrefix("{\"messages\""))
    #expect(text.contains("\\ud"))
  }

  @Test("A folder without cases is refused, and so is a case without a key")
  func noCases() throws {
    let folder = try TemporaryFolder()
    #expect(try refusal { try CaseFiles(folder.path) }.found == "none")
    try folder.write("case.json", #"{"id": "a", "title": "b", "stage": "model", "exposes": []}"#)
    #expect(try refusal { try CaseFiles(folder.path) }.place.hasSuffix("case.json, requires"))
  }

  @Test(
    "Base64 is decoded, and what is none is not",
    arguments: [
      ("", []), ("AA==", [0]), ("AAE=", [0, 1]), ("+/8A", [251, 255, 0]), ("AA=A", nil), ("A", nil),
      ("A===", nil), ("AA E", nil),
    ] as [(String, [UInt8]?)])
  func base64Text(text: String, bytes: [UInt8]?) { #expect(base64(text) == bytes) }
}
