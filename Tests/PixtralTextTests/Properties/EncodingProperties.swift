import Foundation
import TestSupport
import Testing

@testable import PixtralText

/// `Tokenizer.encode`, the fast one, beside `BytePairEncoding`, the definition.
///
/// The definition takes the square of a text's length, so texts are short: what is slow about a
/// long one is the definition.
@Suite("The fast encoding beside its definition")
struct EncodingProperties {
  let tokenizer: Tokenizer

  init() throws { tokenizer = try fixtureTokenizer() }

  @Test("They agree on every text of the cases", arguments: try suites())
  func cases(suite: String) throws {
    let texts = try texts(ofSuite: suite)
    #expect(texts.count > 50)
    #expect(firstDisagreement(texts) == nil)
  }

  @Test("They agree on random texts", arguments: Alphabet.all)
  func random(alphabet: Alphabet) {
    var draw = Draw(seed: UInt64(alphabet.name.utf8.count))
    let texts = (0..<200).map { _ in
      (0..<Int.random(in: 1...40, using: &draw)).map { _ in alphabet.parts.randomElement(using: &draw)! }
        .joined()
    }
    #expect(firstDisagreement(texts) == nil)
  }

  @Test("They agree on runs of one character", arguments: [1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 257, 400])
  func runs(length: Int) {
    let characters = [
      "a", "e", " ", "▁", "\n", "=", "-", "0", "é", "\u{301}", "중", "😀", "\u{0}", "\u{10FFFF}", "[",
    ]
    #expect(firstDisagreement(characters.map { String(repeating: $0, count: length) }) == nil)
  }

  @Test("They agree on the lines of the documents", arguments: try documentPaths())
  func documents(path: String) throws {
    let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
    #expect(firstDisagreement(lines.flatMap(stretches)) == nil)
  }

  @Test("A text that has been encoded before becomes the same tokens")
  func remembered() {
    var draw = Draw(seed: 8)
    // More words than the memory has places, so that they take one another's.
    let words = (0..<20_000).map { _ in String((0..<6).map { _ in "abcdefgh".randomElement(using: &draw)! }) }
    let first = words.map(tokenizer.encode)
    #expect(words.map(tokenizer.encode) == first)
    let definition = BytePairEncoding(tokenizer.vocabulary)
    let wrong = zip(words, first).first { definition.encode($0) != $1 }
    #expect(wrong?.0 == nil)
  }

  /// The first text on which they differ, as its scalars and both answers; nil if there is none.
  private func firstDisagreement(_ texts: [String]) -> String? {
    let definition = BytePairEncoding(tokenizer.vocabulary)
    for text in texts {
      let (expected, found) = (definition.encode(text), tokenizer.encode(text))
      if found != expected {
        return
          "\(text.debugDescription): \(tokenizer.pieces(of: expected)), not \(tokenizer.pieces(of: found))"
      }
    }
    return nil
  }
}

/// What random texts are made of.
struct Alphabet: CustomTestStringConvertible, Sendable {
  let name: String
  let parts: [String]

  var testDescription: String { name }

  static let all = [
    Alphabet(name: "spaces and ▁", parts: [" ", "  ", "▁", "a", "the", "\t", "\u{A0}", "\u{3000}"]),
    Alphabet(
      name: "line ends", parts: ["\r\n", "\n", "\r", "\n\n", "    ", "a", "}", ";", "\u{85}", "\u{2028}"]),
    Alphabet(
      name: "combining marks",
      parts: [
        "e", "é", "e\u{301}", "\u{301}", "\u{327}", "n\u{303}", "ñ", "a\u{308}\u{304}", "각",
        "\u{1100}\u{1161}", "ส", "วั", "สดี",
      ]),
    Alphabet(
      name: "emoji joined",
      parts: ["👩", "\u{200D}", "👩‍💻", "🏳️‍🌈", "\u{FE0F}", "1️⃣", "🇫🇷", "🇫", "🏽", "👍🏽", " ", "x"]),
    Alphabet(
      name: "pieces of their own",
      parts: [
        "[REF]", "[/REF]", "[REF", "REF]", "[", "]", "[IMG]", "[INST]", "</s>", "<s>", "<0x0A>", "<unk>", " ",
        "a",
      ]),
    Alphabet(
      name: "characters without pieces",
      parts: [
        "\u{0}", "\u{1}", "\u{7F}", "\u{E000}", "\u{FFFD}", "\u{FEFF}", "\u{1F9FF}", "𓀀", "𠜎", "ꙮ",
        "\u{10FFFF}", "a", " ",
      ]),
    Alphabet(name: "digits", parts: ["0", "1", "12", "2024", "-", ".", ",", "e10", "٣", "½", "²", " "]),
    Alphabet(
      name: "runs",
      parts: ["aaaaaaaa", "========", "        ", "--------", "....", "哈哈哈哈", "\n\n\n\n", "a", "="]),
    Alphabet(
      name: "words",
      parts: [
        "the", " of", "ing", "tion", " an", "d", "s", "un", "believ", "able", "é", "ß", " Ein", "straße",
        "мир", "世界", "です",
      ]),
    Alphabet(name: "any scalar", parts: scalars),
  ]

  /// 2,000 scalars from all of Unicode, half of them below U+0800.
  private static let scalars: [String] = {
    var draw = Draw(seed: 3)
    return (0..<2000).map { n in
      while true {
        let value = UInt32.random(in: 0...(n % 2 == 0 ? 0x7FF : 0x10FFFF), using: &draw)
        if let scalar = Unicode.Scalar(value) { return String(scalar) }
      }
    }
  }()
}

private func suites() throws -> [String] {
  let folder = "Fixtures/cases/tokens/text"
  let names = try names(folder, ending: ".jsonl")
  precondition(!names.isEmpty, "no suite in \(folder) tests nothing")
  return names.map { "\(folder)/\($0)" }
}

private func documentPaths() throws -> [String] {
  try ["\(checkout)/README.md"] + names("Docs", ending: ".md").map { "\(checkout)/Docs/\($0)" }
}

private func names(_ folder: String, ending: String) throws -> [String] {
  try FileManager.default.contentsOfDirectory(atPath: "\(checkout)/\(folder)").filter { $0.hasSuffix(ending) }
    .sorted()
}

/// The texts of a suite's cases, a case a line.
private func texts(ofSuite path: String) throws -> [String] {
  let lines = try Data(contentsOf: URL(fileURLWithPath: "\(checkout)/\(path)")).split(
    separator: UInt8(ascii: "\n"))
  return try lines.map { line in
    let value = try line.withUnsafeBytes { try PythonValue(json: $0, place: path) }
    guard case .string(let text)? = value["inputs"]?["text"] else { return try #require(nil as String?) }
    return text.text
  }
}

/// A line in stretches of at most 100 characters.
private func stretches(_ line: Substring) -> [String] {
  var rest = line
  var stretches: [String] = []
  while !rest.isEmpty {
    stretches.append(String(rest.prefix(100)))
    rest = rest.dropFirst(100)
  }
  return stretches
}
