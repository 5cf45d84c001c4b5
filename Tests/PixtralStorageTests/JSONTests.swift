import TestSupport
import Testing

@testable import PixtralStorage

@Suite("JSON")
struct JSONTests {
  private func parse(_ text: String) throws -> JSON { try JSON(parsing: text, place: "line") }

  @Test("Values are read as what they are, keys in their order")
  func values() throws {
    let json = try parse(#"{"b": [1, 2.5, -3e2, true, null], "a": "ü\n😀"}"#)
    #expect(json.members?.map(\.key) == ["b", "a"])
    #expect(json["b"] == .array([.integer(1), .number(2.5), .number(-300), .bool(true), .null]))
    #expect(json["a"] == .string("ü\n😀"))
  }

  @Test(
    "An escaped surrogate pair is one character, also where json-c 0.16 spoils it",
    arguments: [
      ("\\ud83d\\ude00", "😀"), ("\\uD836\\uDC00", "\u{1d800}"), ("\\\\ud800", "\\ud800"),
      ("\\\"\\u00e9", "\"é"),
    ])
  func escapes(text: String, expected: String) throws {
    #expect(try parse("\"\(text)\"") == .string(expected))
  }

  @Test(
    "Half of a surrogate pair is refused",
    arguments: ["\\ud800", "x\\udc00y", "\\ud800\\ud800", "\\ud83d\\u0041", "\\ud83dx"])
  func loneSurrogates(text: String) throws {
    #expect(try refusal { try parse("\"\(text)\"") }.found.hasPrefix("half of a surrogate pair"))
  }

  @Test("A sentence stays on its line whatever the input says")
  func oneLine() {
    let error = InputError(.wrongRequest, "a\nb", expected: "c", found: "\u{1b}[31m")
    #expect("\(error)" == "a\\nb: expected c, found \\u{1B}[31m")
  }

  @Test("A number at the very end of the text is whole")
  func bareNumber() throws {
    #expect(try parse("12") == .integer(12))
    #expect(try parse(" [1] \n") == .array([.integer(1)]))
  }

  @Test(
    "What json-c would let through is refused",
    arguments: [
      "", " ", "{", "[1,]", "{'a': 1}", "NaN", "[Infinity]", "{\"a\":1} x", "// c\n1", "\"a\nb\"",
      "{\"a\" 1}", "[1 2]", "tru",
      "\u{feff}1", "\"a",
    ])
  func refused(text: String) throws {
    #expect(try refusal { try parse(text) }.kind == .malformedJSON)
  }

  @Test(
    "Invalid UTF-8 and a NUL in the middle are refused",
    arguments: [
      [0x22, 0xff, 0x22], [0x5b, 0x31, 0x00, 0x5d], [0x22, 0xc0, 0xaf, 0x22], [0x22, 0xed, 0xa0, 0x80, 0x22],
      [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22],
    ])
  func refusedBytes(bytes: [UInt8]) throws {
    let error = try refusal { try bytes.withUnsafeBytes { try JSON(parsing: $0, place: "line") } }
    #expect(error.kind == .malformedJSON)
  }

  @Test("A text nested too deeply is refused, not a crash")
  func deep() throws {
    #expect(try refusal { try parse(String(repeating: "[", count: 100_000)) }.kind == .malformedJSON)
  }

  @Test("Written text is short, exact and not escaped beyond need")
  func written() {
    let json: JSON = ["a/b": .array([.number(0.1), .number(1e300), .number(.nan)]), "ü": "▁\"\n"]
    #expect(json.text() == #"{"a/b":[0.1,1e+300,null],"ü":"▁\"\n"}"#)
  }
}
