import Testing

@testable import PixtralReference

/// Expected texts are what CPython 3.11 prints for `json.dumps(json.loads(text), ensure_ascii=False)`.
@Suite("Python's json")
struct PythonJSONTests {
  @Test(
    "Numbers are written as Python writes them",
    arguments: [
      ("-0", "0"), ("-0.0", "-0.0"), ("1.50", "1.5"), ("1e16", "1e+16"), ("1E5", "100000.0"), ("123456.7e10", "1234567000000000.0"),
      ("9999999999999998.0", "9999999999999998.0"), ("1e22", "1e+22"), ("0.0001", "0.0001"), ("0.00001", "1e-05"), ("5e-324", "5e-324"),
      ("1.7976931348623157e308", "1.7976931348623157e+308"), ("1e400", "Infinity"), ("-1e400", "-Infinity"), ("1e-400", "0.0"),
      ("123456789012345678901234567890", "123456789012345678901234567890"), ("NaN", "NaN"), ("[-Infinity]", "[-Infinity]"),
    ])
  func numbers(text: String, expected: String) throws { #expect(try PythonValue(parsing: text).dumped() == expected) }

  @Test(
    "Strings lose their escapes but for quotes, backslashes and control characters",
    arguments: [
      (#""\u00e9\/""#, #""é/""#), (#""\ud83d\ude00""#, #""😀""#), (#""\u0000\u001f\b\f\n\r\t""#, #""\u0000\u001f\b\f\n\r\t""#),
      (#""\"\\""#, #""\"\\""#), ("\"\u{7f}\u{2028}\"", "\"\u{7f}\u{2028}\""),
    ])
  func strings(text: String, expected: String) throws { #expect(try PythonValue(parsing: text).dumped() == expected) }

  @Test(
    "A comma and a colon have a space behind them, and the last of two equal keys counts, in the place of the first",
    arguments: [(#"{"a":1,"b":[1,2,{}],"a":3}"#, #"{"a": 3, "b": [1, 2, {}]}"#), (" [ ]\r\n", "[]"), (#"{"":null}"#, #"{"": null}"#)])
  func structure(text: String, expected: String) throws { #expect(try PythonValue(parsing: text).dumped() == expected) }

  @Test(
    "What Python does not read is refused",
    arguments: [
      "", "01", "1.", ".5", "+1", "1e", "nul", "True", "[1,]", "{\"a\":1,}", "{'a':1}", "\"\u{1}\"", "\"\\x\"", "\"\\u12\"", "[1 2]", "1 2",
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
}

@Suite("Schemas of tools")
struct ToolSchemaTests {
  private func fault(_ text: String) throws -> String? { ToolSchema.fault(in: try PythonValue(parsing: text)) }

  @Test(
    "Schemas that jsonschema's Draft7Validator.check_schema accepts",
    arguments: [
      "{}", "true", #"{"type": ["string", "null"]}"#, #"{"minLength": 1.0}"#, #"{"enum": []}"#, #"{"items": {}}"#, #"{"$ref": "no uri"}"#,
      #"{"$defs": {"a": 5}}"#, #"{"dependencies": {"a": ["b"]}}"#, #"{"pattern": "(?i)[a-z]{2,}"}"#, #"{"properties": {"type": true}}"#,
      #"{"multipleOf": 0.5}"#, #"{"writeOnly": 1}"#, #"{"const": null}"#,
    ])
  func accepted(text: String) throws { #expect(try fault(text) == nil) }

  @Test(
    "Schemas that it refuses",
    arguments: [
      "5", #"{"type": "str"}"#, #"{"type": []}"#, #"{"type": ["string", "string"]}"#, #"{"minLength": 1.5}"#, #"{"minLength": true}"#,
      #"{"maxItems": -1}"#, #"{"items": []}"#, #"{"items": [5]}"#, #"{"required": ["a", "a"]}"#, #"{"required": "a"}"#,
      #"{"multipleOf": 0}"#,
      #"{"properties": {"a": {"type": "z"}}}"#, #"{"anyOf": []}"#, #"{"pattern": "["}"#, #"{"patternProperties": {"(": {}}}"#,
      #"{"title": 5}"#,
      #"{"dependencies": {"a": 5}}"#, #"{"exclusiveMinimum": true}"#,
    ])
  func refused(text: String) throws { #expect(try fault(text) != nil) }
}

/// What `re.compile` of CPython 3.11 says.
@Suite("Patterns that Python compiles")
struct PythonRegexTests {
  @Test(
    "Compiled",
    arguments: [
      "", "a|b|", "a*?b++c{2,3}+", "a{,3}", "a{", "a{}", "a{2,b}", "[]a]", "[^]a-]", "[a-z\\d-]", "(?P<n>a)(?P=n)", "(?:a)(?i:b)(?-i:c)",
      "(?#x)a", "a(?#x)*", "(?=a)*", "(?!)", "(?<=ab|cd)e", "(?<!a{3})b", "(a)\\1", "\\0\\07\\377", "\\x41\\u00e9\\U0001F600",
      "\\N{EM DASH}", "(?(1)a|b)(c)", "(a)(?(1)b)", "(?x) a # )\n b", "(?>a+)", "\\A\\b\\Z", "é\\é",
    ])
  func compiled(pattern: String) { #expect(isPythonRegex(pattern)) }

  @Test(
    "Not compiled",
    arguments: [
      "(", ")", "a)", "[", "[a", "[z-a]", "[\\d-z]", "*", "a**", "^*", "\\b+", "(|*)", "a{3,2}", "(?P<1>a)", "(?P<n>a)(?P<n>b)", "(?P=n)",
      "\\1",
      "(\\1)", "\\q", "[\\q]", "\\x4", "\\u12", "\\U00110000", "\\N{NO SUCH NAME}", "\\400", "(?<=a+)b", "(?<=a|bc)d", "(?z)", "a(?i)",
      "(?i-i:a)",
      "(?L)a", "(?au)", "(?(2)a)(b)", "(?(1)a|b|c)(d)", "(?", "(?#", "\\",
    ])
  func refused(pattern: String) { #expect(!isPythonRegex(pattern)) }
}
