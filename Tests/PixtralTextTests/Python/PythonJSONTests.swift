import PixtralImage
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralText

/// Expected texts are what CPython 3.11 prints for `json.dumps(json.loads(text), ensure_ascii=False)`.
@Suite("Python's json")
struct PythonJSONTests {
  @Test(
    "Numbers are written as Python writes them",
    arguments: [
      ("-0", "0"), ("-0.0", "-0.0"), ("1.50", "1.5"), ("1e16", "1e+16"), ("1E5", "100000.0"),
      ("123456.7e10", "1234567000000000.0"),
      ("9999999999999998.0", "9999999999999998.0"), ("1e22", "1e+22"), ("0.0001", "0.0001"),
      ("0.00001", "1e-05"), ("5e-324", "5e-324"),
      ("1.7976931348623157e308", "1.7976931348623157e+308"), ("1e400", "Infinity"), ("-1e400", "-Infinity"),
      ("1e-400", "0.0"),
      ("123456789012345678901234567890", "123456789012345678901234567890"), ("NaN", "NaN"),
      ("[-Infinity]", "[-Infinity]"),
    ])
  func numbers(text: String, expected: String) throws {
    #expect(try PythonValue(parsing: text).dumped() == expected)
  }

  @Test(
    "Strings lose their escapes but for quotes, backslashes and control characters",
    arguments: [
      (#""\u00e9\/""#, #""é/""#), (#""\ud83d\ude00""#, #""😀""#),
      (#""\u0000\u001f\b\f\n\r\t""#, #""\u0000\u001f\b\f\n\r\t""#),
      (#""\"\\""#, #""\"\\""#), ("\"\u{7f}\u{2028}\"", "\"\u{7f}\u{2028}\""),
    ])
  func strings(text: String, expected: String) throws {
    #expect(try PythonValue(parsing: text).dumped() == expected)
  }

  @Test(
    "A comma and a colon have a space behind them, and the last of two equal keys counts, in the place of the first",
    arguments: [
      (#"{"a":1,"b":[1,2,{}],"a":3}"#, #"{"a": 3, "b": [1, 2, {}]}"#), (" [ ]\r\n", "[]"),
      (#"{"":null}"#, #"{"": null}"#),
    ])
  func structure(text: String, expected: String) throws {
    #expect(try PythonValue(parsing: text).dumped() == expected)
  }

  @Test(
    "What Python does not read is refused",
    arguments: [
      "", "01", "1.", ".5", "+1", "1e", "nul", "True", "[1,]", "{\"a\":1,}", "{'a':1}", "\"\u{1}\"",
      "\"\\x\"", "\"\\u12\"", "[1 2]", "1 2",
      "\u{feff}{}", "\u{a0}1", "\"a",
    ])
  func refused(text: String) {
    #expect { try PythonValue(parsing: text) } throws: { ($0 as? PythonException)?.type == "JSONDecodeError" }
  }

  @Test("Half of a surrogate pair is read, and remembered")
  func halves() throws {
    #expect(try PythonValue(parsing: #"{"a":["\ud800"]}"#).holdsHalfSurrogate)
    #expect(try PythonValue(parsing: #"{"\udc00x":1}"#).holdsHalfSurrogate)
    #expect(try !PythonValue(parsing: #"["\ud83d\ude00"]"#).holdsHalfSurrogate)
  }

  @Test("An integer of more digits than Python takes is its ValueError")
  func digits() {
    let text = String(repeating: "9", count: 4301)
    #expect { try PythonValue(parsing: text) } throws: { ($0 as? PythonException)?.type == "ValueError" }
  }

  @Test("Nesting beyond Python's recursion limit is an error, not a crash")
  func nesting() {
    let text = String(repeating: "[", count: 100_000)
    #expect { try PythonValue(parsing: text) } throws: { ($0 as? PythonException)?.type == "RecursionError" }
  }

  @Test("Two spellings of one letter are two keys")
  func spellings() throws {
    let text = "{\"\u{e9}\": 1, \"e\u{301}\": 2, \"K\": 3, \"\u{212a}\": 4}"
    #expect(try Array(PythonValue(parsing: text).dumped().utf8) == Array(text.utf8))
  }
}
