import PixtralImage
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Hugging Face layout")
struct HuggingFaceTests {
  /// The files beside the tensors, by name.
  let files: [String: String]

  init() throws {
    let written = try Checkpoint("seeded:tiny")
      .huggingFaceFiles(tokenizer: "\(fixtures)/tokenizer/\(Tokenizer.fileName)")
    files = Dictionary(
      uniqueKeysWithValues: written.map { ($0.name, String(decoding: $0.bytes, as: UTF8.self)) })
  }

  /// transformers 5.0 to 5.12 refuse the rope_type that others would want there.
  @Test func visionConfigHasABaseAndNoKindOfRotation() throws {
    let vision = try #require(json("config.json")["vision_config"])
    #expect(vision["rope_theta"] == .number(10000))
    #expect(vision["rope_parameters"] == nil)
  }

  /// optimum-intel reads it from the outermost object, others from the decoder's.
  @Test func everyConfigNamesATokenForPadding() throws {
    #expect(try json("config.json")["pad_token_id"] == .integer(0))
    #expect(try json("config.json")["text_config"]?["pad_token_id"] == .integer(0))
    #expect(try json("generation_config.json")["pad_token_id"] == .integer(0))
    #expect(try json("tokenizer_config.json")["pad_token"] == "<unk>")
  }

  @Test func meansStandInTheDigitsOfMistralCommon() throws {
    let processor = try json("preprocessor_config.json")
    #expect(processor["image_mean"]?.text() == "[0.48145466,0.4578275,0.40821073]")
    #expect(processor["image_std"]?.text() == "[0.26862954,0.26130258,0.27577711]")
  }

  @Test func theModelFileOfTheTokenizerHasTheNamesThatMistralCommonAndLlamaCppLookFor() {
    #expect(files["tokenizer.model.v7m1"]?.utf8.count == files["tokenizer.model"]?.utf8.count)
    #expect(files["tokenizer.model"] == files["tokenizer.model.v7m1"])
  }

  @Test func everyPieceKeepsItsId() throws {
    let pieces = try fixtureTokenizer().pieces(of: Array(0..<32768))
    let vocabulary = try #require(json("tokenizer.json")["model"]?["vocab"]?.members)
    #expect(vocabulary.map(\.key) == pieces)
    #expect(vocabulary.map(\.value) == (0..<32768).map(JSON.integer))
  }

  /// Control pieces and `<unk>`; user-defined ones are text, for `▁` does not stand behind them.
  @Test func controlPiecesAreSpecialTokens() throws {
    let tokens = try #require(json("tokenizer.json")["added_tokens"]?.array)
    #expect(tokens.map { $0["id"] } == (0..<749).map(JSON.integer))
    #expect(tokens[14]["content"] == "[IMG_BREAK]")
    #expect(tokens.allSatisfy { $0["special"] == .bool(true) && $0["normalized"] == .bool(false) })
  }

  /// The last merge of a row of ▁ shows the order of equal scores; by id, T-merge-order, it would be
  /// that of two.
  @Test func rowsOfSpacesAreMergedTheLongestFirstAndAfterAllElse() throws {
    let merges = try #require(json("tokenizer.json")["model"]?["merges"]?.strings)
    let rows = merges.filter { $0.unicodeScalars.allSatisfy { "▁ ".unicodeScalars.contains($0) } }
    #expect(Array(merges.suffix(rows.count)) == rows)
    #expect(rows.map(\.unicodeScalars.count) == rows.map(\.unicodeScalars.count).sorted(by: >))
    #expect(rows.last == "▁ ▁")
  }

  @Test func textBecomesWhatSentencepieceMakesOfItByTheRulesOfTheFile() throws {
    let tokenizer = try ReadTokenizer(json("tokenizer.json"))
    var wrong: [String] = []
    let cases = try suite("tokens/text/rules") + suite("tokens/text/corpus").prefix(200)
    for entry in cases {
      let text = try #require(entry.inputs["text"]?.text)
      let found = tokenizer.encode(text)
      if found != entry.expect["tokens"]?.numbers { wrong.append("\(entry): \(found)") }
    }
    expectNone(wrong, of: cases.count)
  }

  @Test func aRowOfSpacesBecomesWhatBytePairEncodingMakesOfIt() throws {
    let (read, tokenizer) = (try ReadTokenizer(json("tokenizer.json")), try fixtureTokenizer())
    for count in 1..<40 {
      let text = String(repeating: " ", count: count) + "x"
      #expect(read.encode(text) == tokenizer.encode(text))
    }
  }

  private func json(_ name: String) throws -> JSON {
    try JSON(parsing: #require(files[name]), place: name)
  }
}

/// What the tokenizers library does with a text, special tokens in it left as text, as far as this file
/// needs it: the normalizer, the words, and merges by their place in the list.
private struct ReadTokenizer {
  private var ids: [[UInt8]: Int] = [:]
  private var ranks: [[UInt8]: Int] = [:]
  private let userDefined: Regex<AnyRegexOutput>
  private let ignoresMerges: Bool

  init(_ json: JSON) throws {
    for piece in try #require(json["model"]?["vocab"]?.members) {
      ids[Array(piece.key.utf8)] = piece.value.integer
    }
    for (rank, pair) in try #require(json["model"]?["merges"]?.strings).enumerated() {
      ranks[Array(pair.utf8)] = rank
    }
    ignoresMerges = json["model"]?["ignore_merges"] == .bool(true)
    let split = try #require(json["pre_tokenizer"]?["pretokenizers"]?.array?.first)
    userDefined = try Regex(#require(split["pattern"]?["Regex"]?.string))
  }

  func encode(_ text: String) -> [Int] {
    if text.isEmpty { return [] }
    let text = "▁" + String(String.UnicodeScalarView(text.unicodeScalars.map { $0 == " " ? "▁" : $0 }))
    var tokens: [Int] = []
    var rest = text[...]
    let pattern = userDefined.matchingSemantics(.unicodeScalar)
    while let match = rest.firstMatch(of: pattern) {
      tokens += word(rest[..<match.range.lowerBound]) + word(rest[match.range])
      rest = rest[match.range.upperBound...]
    }
    return tokens + word(rest)
  }

  private func word(_ word: Substring) -> [Int] {
    if ignoresMerges, let id = ids[Array(word.utf8)] { return [id] }
    var symbols = word.unicodeScalars.map { Array(String($0).utf8) }
    while let left = best(symbols) { symbols[left] += symbols.remove(at: left + 1) }
    return symbols.flatMap { symbol in
      ids[symbol].map { [$0] } ?? symbol.map { 771 + Int($0) }
    }
  }

  /// The pair of the lowest rank, and of equal ranks the leftmost.
  private func best(_ symbols: [[UInt8]]) -> Int? {
    var best: (left: Int, rank: Int)?
    for left in symbols.indices.dropLast() {
      guard let rank = ranks[symbols[left] + [UInt8(ascii: " ")] + symbols[left + 1]] else { continue }
      if best.map({ rank < $0.rank }) ?? true { best = (left, rank) }
    }
    return best?.left
  }
}
