import Testing

@testable import PixtralReference

@Suite("Tokenizer")
struct TokenizerTests {
  let tokenizer = try! fixtureTokenizer()

  @Test("The vocabulary has the pieces that the template names")
  func vocabulary() {
    let pieces = tokenizer.vocabulary.pieces
    #expect(pieces.count == 32768)
    #expect(pieces[V7Token.imageBreak.rawValue].text == "[IMG_BREAK]")
    #expect(pieces[V7Token.imageEnd.rawValue].text == "[IMG_END]")
    #expect(pieces[V7Token.endSystemPrompt.rawValue].text == "[/SYSTEM_PROMPT]")
    #expect(pieces[771].text == "<0x00>")
  }

  @Test("Text becomes what sentencepiece makes of it", arguments: try! cases("tokens/text/basics.jsonl"))
  func encode(entry: Case) throws {
    let text = try #require(entry.json["inputs"]?["text"]?.string)
    #expect(tokenizer.encode(text) == entry.json["expect"]?["tokens"]?.integers, "\(entry.title)")
  }

  @Test("A long run of one character takes no longer than its length")
  func longRun() {
    #expect(tokenizer.encode(String(repeating: "a", count: 200_000)).count > 1000)
  }

  @Test("Another file than the one whose rules are written here is refused")
  func otherFile() throws {
    let folder = try TemporaryFolder()
    var model = try bytes(of: "\(fixtures)/tokenizer/\(Tokenizer.fileName)")
    model[1000] ^= 1
    let error = try refusal { try Tokenizer(file: folder.write("other.model", model)) }
    #expect(error.kind == .wrongTokenizer)
    #expect(error.expected.hasSuffix("SHA-256 \(Tokenizer.digest)"))
  }

  @Test("A message that does not parse is refused")
  func malformedModel() throws {
    let error = try refusal { try [UInt8]([0x0a, 0xff]).withUnsafeBytes { try Vocabulary(model: $0, place: "m") } }
    #expect(error.kind == .wrongTokenizer)
  }
}
