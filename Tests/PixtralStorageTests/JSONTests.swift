import TestSupport
import Testing

@testable import PixtralStorage

@Suite("JSON")
struct JSONTests {
  private func parse(_ text: String) throws -> JSON { try JSON(parsing: text, place: "line") }

  private func parse(_ bytes: [UInt8]) throws -> JSON {
    try bytes.withUnsafeBytes { try JSON(parsing: $0, place: "line") }
  }

  @Test("Values are read as what they are, keys in their order")
  func values() throws {
    let json = try parse(#"{"b": [1, 2.5, -3e2, true, null], "a": "ü\n😀"}"#)
    #expect(json.members?.map(\.key) == ["b", "a"])
    #expect(json["b"] == .array([.integer(1), .number(2.5), .number(-300), .bool(true), .null]))
    #expect(json["a"] == .string("ü\n😀"))
  }

  @Test(
    "Every escape is undone: a surrogate pair to one character, a NUL to a NUL",
    arguments: [
      (#"\ud83d\ude00"#, "😀"), (#"\uD836\uDC00"#, "\u{1d800}"), (#"\\ud800"#, #"\ud800"#),
      (#"\"\u00e9"#, "\"é"), (#"a\u0000b"#, "a\0b"), (#"\b\f\n\r\t\/"#, "\u{8}\u{c}\n\r\t/"),
    ])
  func escapes(text: String, expected: String) throws {
    #expect(try parse("\"\(text)\"") == .string(expected))
  }

  @Test(
    "Half of a surrogate pair is refused",
    arguments: [#"\ud800"#, #"x\udc00y"#, #"\ud800\ud800"#, #"\ud83d\u0041"#, #"\ud83dx"#])
  func loneSurrogates(text: String) throws {
    #expect(try refusal { try parse("\"\(text)\"") }.found.hasPrefix("half of a surrogate pair"))
  }

  @Test("A value may stand alone, with white space around it")
  func bareValues() throws {
    #expect(try parse("12") == .integer(12))
    #expect(try parse(" \t\r\n[1] \n") == .array([.integer(1)]))
  }

  @Test(
    "What is no JSON is refused, with the byte at which it is none",
    arguments: [
      ("[1,]", "']' where a value should begin at byte 3"),
      ("[,1]", "',' where a value should begin at byte 1"),
      (#"{"a":}"#, "'}' where a value should begin at byte 5"),
      (#"{"a":1,}"#, "'}' where a key should begin at byte 7"),
      ("{'a': 1}", "''' where a key should begin at byte 1"),
      ("{1:2}", "'1' where a key should begin at byte 1"),
      (#"{"a" 1}"#, "no colon after a key at byte 5"),
      ("[1 2]", "no comma and no ] after a value at byte 3"),
      ("[1}", "no comma and no ] after a value at byte 2"),
      (#"{"a":1]"#, "no comma and no } after a value at byte 6"),
      ("NaN", "'N' where a value should begin at byte 0"),
      ("[Infinity]", "'I' where a value should begin at byte 1"),
      ("tru", "'t' where a value should begin at byte 0"),
      ("True", "'T' where a value should begin at byte 0"),
      ("nulll", "more text after the value at byte 4"),
      (#"{"a":1} x"#, "more text after the value at byte 8"),
      ("// c\n1", "'/' where a value should begin at byte 0"),
      ("1//", "more text after the value at byte 1"),
      ("\u{a0}1", "byte 194 where a value should begin at byte 0"),
      ("[1\u{b}]", "no comma and no ] after a value at byte 2"),
      ("\"a\nb\"", "a control character inside a string at byte 2"),
      (#""\x""#, "an unknown escape at byte 1"),
      (#""\U0041""#, "an unknown escape at byte 1"),
      (#""\u00g0""#, #"\u without four hexadecimal digits at byte 1"#),
    ])
  func refused(text: String, found: String) throws {
    let error = try refusal { try parse(text) }
    #expect(error.kind == .malformedJSON)
    #expect(error.found == found)
  }

  @Test(
    "A text that ends too early says so",
    arguments: ["", " ", "{", "[", "[1", "[1,", #"{"a""#, #"{"a":"#, #"{"a":1"#, #"{"a":1,"#, "\"a", #""\"#])
  func endsEarly(text: String) throws {
    #expect(try refusal { try parse(text) }.found == "a text that ends before the value does")
  }

  @Test(
    "Bytes that are no UTF-8, and a NUL, are refused",
    arguments: [
      ([0x22, 0xff, 0x22], "bytes that are no UTF-8 at byte 1"),
      ([0x22, 0xc0, 0xaf, 0x22], "bytes that are no UTF-8 at byte 1"),
      ([0x22, 0xed, 0xa0, 0x80, 0x22], "bytes that are no UTF-8 at byte 1"),
      ([0x22, 0xf4, 0x90, 0x80, 0x80, 0x22], "bytes that are no UTF-8 at byte 1"),
      ([0x5b, 0x31, 0x00, 0x5d], "no comma and no ] after a value at byte 2"),
    ] as [([UInt8], String)])
  func refusedBytes(bytes: [UInt8], found: String) throws {
    #expect(try refusal { try parse(bytes) }.found == found)
  }

  @Test("A text nested too deeply is refused, not a crash")
  func deep() throws {
    func nested(_ depth: Int) -> String {
      String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    }
    #expect(throws: Never.self) { try parse(nested(127)) }
    for depth in [128, 100_000] {
      #expect(try refusal { try parse(nested(depth)) }.found == "more than 127 levels of nesting at byte 127")
    }
  }

  @Test("A file that is too large for a tree is refused unread")
  func largeFile() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("large.json", String(repeating: " ", count: 1 << 20) + "1")
    #expect(try refusal { try JSON(file: path) }.expected == "at most 1048576 bytes of JSON")
    #expect(try JSON(file: path, upTo: 2 << 20) == .integer(1))
  }

  // MARK: - Numbers

  @Test(
    "A number is written as RFC 8259 has it, and no laxer",
    arguments: [
      "1.", ".5", "-.5", "-", "+1", "1e", "1e+", "1.e5", "00", "01", "-01", "0x10", "1_000", "--1", "１",
    ])
  func malformedNumbers(text: String) throws {
    #expect(try refusal { try parse(text) }.kind == .malformedJSON)
    #expect(try refusal { try parse("[\(text)]") }.kind == .malformedJSON)
  }

  @Test("An integer of 64 bits is exact")
  func integers() throws {
    #expect(try parse("[0,-0,9223372036854775807,-9223372036854775808]").integers == [0, 0, .max, .min])
  }

  @Test("A number with a fraction or an exponent is the nearest double")
  func doubles() throws {
    let values = [Double](arrayLiteral: 0.1, -0.0, 1e5, .leastNonzeroMagnitude, 0, .greatestFiniteMagnitude)
    let text = "[0.1,-0.0,1E5,5e-324,1e-999,1.7976931348623157e308]"
    #expect(try parse(text).array?.map { $0.double?.bitPattern } == values.map(\.bitPattern))
  }

  @Test(
    "A number that would have to be changed is refused",
    arguments: [
      ("9223372036854775808", "an integer beyond 64 bits at byte 0"),
      ("[-9223372036854775809]", "an integer beyond 64 bits at byte 1"),
      ("1e999", "a number beyond the range of a double at byte 0"),
      ("-1e999", "a number beyond the range of a double at byte 0"),
    ])
  func numbersBeyond(text: String, found: String) throws {
    #expect(try refusal { try parse(text) }.found == found)
  }

  @Test("An integer beyond 64 bits becomes the nearest double where that is asked")
  func roundedIntegers() throws {
    let value = try JSON(parsing: "18446744073709551615", place: "t", roundsIntegers: true)
    #expect(value == .number(0x1p64))
  }

  // MARK: - Keys

  @Test(
    "A key twice in one object is refused at every level, however it is written",
    arguments: [
      #"{"a":1,"a":1}"#, #"{"a":1,"b":2,"\u0061":3}"#, #"[{"x":[{"é":1,"\u00e9":2}]}]"#, #"{"":0,"":0}"#,
    ])
  func twice(text: String) throws {
    #expect(try refusal { try parse(text) }.found.contains("twice in one object at byte"))
  }

  @Test("A key twice is found among many, and no other key is taken for it")
  func twiceAmongMany() throws {
    let keys = (0..<1000).map { "\"k\($0)\":\($0)" }
    #expect(try parse("{\(keys.joined(separator: ","))}").members?.count == 1000)
    for again in [0, 7, 8, 500, 999] {
      let text = "{\((keys + [#""\u006b\#(again)":0"#]).joined(separator: ","))}"
      #expect(try refusal { try parse(text) }.found.hasPrefix("the key k\(again) twice in one object"))
    }
  }

  /// Swift's strings take both spellings of é for equal.
  @Test("Two keys are one only if they are so character by character")
  func likeKeys() throws {
    #expect(try parse(#"{"é":1,"e\u0301":2,"a":{"a":3},"a\u0000":4}"#).members?.count == 4)
  }

  // MARK: - Other formats

  @Test(
    "A text of another encoding or format is named",
    arguments: [
      ([0xef, 0xbb, 0xbf, 0x7b, 0x7d], "UTF-8 text with a byte-order mark"),
      ([0xff, 0xfe, 0x7b, 0x00, 0x7d, 0x00], "UTF-16 text (PowerShell's > writes it)"),
      ([0xfe, 0xff, 0x00, 0x7b, 0x00, 0x7d], "UTF-16 text (PowerShell's > writes it)"),
      ([0x7b, 0x00, 0x7d, 0x00], "UTF-16 text (PowerShell's > writes it)"),
      ([0x00, 0x7b, 0x00, 0x7d], "UTF-16 text (PowerShell's > writes it)"),
      ([0xff, 0xfe, 0x00, 0x00, 0x7b, 0x00, 0x00, 0x00], "UTF-32 text"),
      ([0x00, 0x00, 0x00, 0x7b, 0x00, 0x00, 0x00, 0x7d], "UTF-32 text"),
      (Array("version https://git-lfs.github.com/spec/v1\n".utf8), "a Git LFS pointer"),
      (Array(" <!doctype HTML>".utf8), "an HTML page"), ([0x1f, 0x8b, 0x08, 0x00], "gzip data"),
      ([2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d], "a safetensors file"),
    ] as [([UInt8], String)])
  func otherFormats(bytes: [UInt8], name: String) throws {
    #expect(try refusal { try parse(bytes) }.found == name)
  }

  @Test("Text in UTF-16 is told what to do")
  func advice() throws {
    let error = try refusal { try parse([0xff, 0xfe, 0x5b, 0x00, 0x5d, 0x00]) }
    #expect(
      "\(error)"
        == "line: expected JSON text in UTF-8, found UTF-16 text (PowerShell's > writes it); write UTF-8")
  }

  // MARK: - Writing

  @Test("Written text is short, exact and not escaped beyond need")
  func written() {
    let json: JSON = ["a/b": .array([.number(0.1), .number(1e300), .number(.nan)]), "ü": "▁\"\n"]
    #expect(json.text() == #"{"a/b":[0.1,1e+300,null],"ü":"▁\"\n"}"#)
  }

  @Test("Indented text has a line an element, and none for what is empty")
  func indented() {
    let json: JSON = ["a": [.integer(1), .object([])], "b": [], "c": ["d": .null]]
    let expected = """
      {
        "a": [
          1,
          {}
        ],
        "b": [],
        "c": {
          "d": null
        }
      }
      """
    #expect(json.text(indented: true) == expected)
  }

  @Test("No control character is written raw, and every one reads back")
  func controls() throws {
    let all = String(String.UnicodeScalarView((0..<0xa0).compactMap(Unicode.Scalar.init)))
    let text = JSON.string(all).text()
    #expect(text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control })
    #expect(text.hasPrefix(#""\u0000\u0001"#) && text.contains(#"\u001b\u001c"#))
    #expect(text.contains(#"~\u007f\u0080"#) && text.hasSuffix(#"\u009f""#))
    #expect(try parse(text) == .string(all))
  }

  @Test("A text may be held to a number of values, with those inside others")
  func fewValues() throws {
    let text = Array(#"[1, {"a": [2]}]"#.utf8)
    try text.withUnsafeBytes { bytes in
      _ = try JSON(parsing: bytes, place: "line", values: 5)
      #expect(try refusal { try JSON(parsing: bytes, place: "line", values: 4) }.found == "more")
    }
  }
}
