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

  @Test("Text becomes what sentencepiece makes of it", arguments: try! tokenCases("text/rules.jsonl"))
  func encode(entry: TokenCase) throws {
    #expect(try tokenizer.encode(#require(entry.inputs["text"]?.text)) == entry.expected(in: .current)["tokens"]?.numbers, "\(entry.title)")
  }

  @Test("So do 5,000 random texts")
  func encodeRandom() throws {
    for entry in try tokenCases("text/corpus.jsonl") {
      #expect(try tokenizer.encode(#require(entry.inputs["text"]?.text)) == entry.expected(in: .current)["tokens"]?.numbers, "\(entry.id)")
    }
  }

  @Test("Tokens become what sentencepiece makes of them, all at once and one by one")
  func decode() throws {
    for entry in try tokenCases("decode/rules.jsonl") {
      let tokens = try #require(entry.inputs["tokens"]?.numbers)
      let expected = entry.expected(in: .current)["text"]?.text
      #expect(try tokenizer.decode(tokens) == expected, "\(entry.id): \(entry.title)")
      var stream = tokenizer.textStream
      #expect(tokens.map { stream.append($0) }.joined() + stream.finish() == expected, "\(entry.id)")
    }
  }

  @Test("A stream gives a character out when it is whole, and a space with the word behind it")
  func stream() throws {
    var stream = tokenizer.textStream
    let pieces = ["▁a", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "▁b", "<0xE2>"]
    let tokens = try pieces.map { piece in try #require(tokenizer.vocabulary.pieces.firstIndex { $0.text == piece }) }
    #expect(tokens.map { stream.append($0) } == ["a", "", "", "", "😀", " b", ""])
    #expect(stream.finish() == "\u{fffd}")
  }

  @Test("An id outside the vocabulary is refused", arguments: [-1, 32768])
  func outside(id: Int) throws { #expect(try refusal { try tokenizer.decode([1, id]) }.type == "IndexError") }

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
