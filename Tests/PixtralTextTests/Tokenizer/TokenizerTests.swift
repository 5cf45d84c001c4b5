import PixtralImage
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralText

@Suite("Tokenizer")
struct TokenizerTests {
  let tokenizer: Tokenizer

  init() throws { tokenizer = try fixtureTokenizer() }

  @Test("The vocabulary has the pieces that the template names")
  func vocabulary() {
    let pieces = tokenizer.vocabulary.pieces
    #expect(pieces.count == 32768)
    #expect(pieces[V7Token.imageBreak.rawValue].text == "[IMG_BREAK]")
    #expect(pieces[V7Token.imageEnd.rawValue].text == "[IMG_END]")
    #expect(pieces[V7Token.endSystemPrompt.rawValue].text == "[/SYSTEM_PROMPT]")
    #expect(pieces[771].text == "<0x00>")
  }

  @Test("Text becomes what sentencepiece makes of it", arguments: ["rules", "corpus"])
  func encode(name: String) throws {
    let cases = try suite("tokens/text/\(name)")
    expectRight(cases) {
      let found = try tokenizer.encode(#require($0.inputs["text"]?.text))
      return found == $0.expect["tokens"]?.numbers ? nil : "\(found)"
    }
  }

  @Test("Tokens become what sentencepiece makes of them, all at once and one by one")
  func decode() throws {
    let cases = try suite("tokens/decode/rules")
    expectRight(cases) { entry in
      let tokens = try #require(entry.inputs["tokens"]?.numbers)
      if let name = entry.expect["reject"]?.text {
        let error = try refusal { try tokenizer.decode(tokens) }
        return error.type == name ? nil : "refused with \(error.type)"
      }
      var stream = tokenizer.textStream
      let streamed = tokens.map { stream.append($0) }.joined() + stream.finish()
      let (whole, expected) = (try tokenizer.decode(tokens), entry.expect["text"]?.text)
      return whole == expected && streamed == expected ? nil : "\(whole), one by one \(streamed)"
    }
  }

  @Test("A stream gives a character out when it is whole, and a space with the word behind it")
  func stream() throws {
    var stream = tokenizer.textStream
    let pieces = ["▁a", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "▁b", "<0xE2>"]
    let tokens = try pieces.map { piece in
      try #require(tokenizer.vocabulary.pieces.firstIndex { $0.text == piece })
    }
    #expect(tokens.map { stream.append($0) } == ["a", "", "", "", "😀", " b", ""])
    #expect(stream.finish() == "\u{fffd}")
  }

  @Test("An id outside the vocabulary is refused", arguments: [-1, 32768])
  func outside(id: Int) throws {
    #expect(try refusal { try tokenizer.decode([1, id]) }.type == "IndexError")
  }

  @Test("A run of 200,000 letters comes back whole")
  func longRun() throws {
    let run = String(repeating: "a", count: 200_000)
    #expect(try tokenizer.decode(tokenizer.encode(run)) == run)
  }

  @Test("Another file than the one whose rules are written here is refused")
  func otherFile() throws {
    let folder = try TemporaryFolder()
    var model = try bytes(of: "\(fixtures)/tokenizer/\(Tokenizer.fileName)")
    model[1000] ^= 1
    let error = try refusal { try Tokenizer(file: folder.write("other.model", model)) }
    #expect(error.kind == .wrongTokenizer)
    #expect(error.expected.hasSuffix("SHA-256 \(Tokenizer.sha256)"))
  }

  @Test("A message that does not parse is refused")
  func malformedModel() throws {
    let error = try refusal {
      try [UInt8]([0x0a, 0xff]).withUnsafeBytes { try Vocabulary(model: $0, place: "m") }
    }
    #expect(error.kind == .wrongTokenizer)
  }
}
