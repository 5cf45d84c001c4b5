import PixtralImage
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralText

@Suite("Schemas of tools")
struct ToolSchemaTests {
  private func fault(_ text: String) throws -> String? {
    try ToolSchema.fault(in: PythonValue(parsing: text))
  }

  @Test(
    "Schemas that jsonschema's Draft7Validator.check_schema accepts",
    arguments: [
      "{}", "true", #"{"type": ["string", "null"]}"#, #"{"minLength": 1.0}"#, #"{"enum": []}"#,
      #"{"items": {}}"#, #"{"$ref": "no uri"}"#,
      #"{"$defs": {"a": 5}}"#, #"{"dependencies": {"a": ["b"]}}"#, #"{"pattern": "(?i)[a-z]{2,}"}"#,
      #"{"properties": {"type": true}}"#,
      #"{"multipleOf": 0.5}"#, #"{"writeOnly": 1}"#, #"{"const": null}"#,
    ])
  func accepted(text: String) throws { #expect(try fault(text) == nil) }

  @Test(
    "Schemas that it refuses",
    arguments: [
      "5", #"{"type": "str"}"#, #"{"type": []}"#, #"{"type": ["string", "string"]}"#, #"{"minLength": 1.5}"#,
      #"{"minLength": true}"#,
      #"{"maxItems": -1}"#, #"{"items": []}"#, #"{"items": [5]}"#, #"{"required": ["a", "a"]}"#,
      #"{"required": "a"}"#,
      #"{"multipleOf": 0}"#,
      #"{"properties": {"a": {"type": "z"}}}"#, #"{"anyOf": []}"#, #"{"pattern": "["}"#,
      #"{"patternProperties": {"(": {}}}"#,
      #"{"title": 5}"#,
      #"{"dependencies": {"a": 5}}"#, #"{"exclusiveMinimum": true}"#,
    ])
  func refused(text: String) throws { #expect(try fault(text) != nil) }

  @Test(
    "Of a fault and a pattern that overflows the first counts, in the order of the meta-schema",
    arguments: [
      #"{"type": "z", "pattern": "a{4294967295}"}"#,
      #"{"patternProperties": {"a{4294967295}": {}}, "not": 5}"#,
      #"{"items": {"minLength": -1, "pattern": "a{4294967295}"}}"#,
      #"{"items": [5, {"pattern": "a{4294967295}"}]}"#,
      #"{"dependencies": {"a": {"minLength": -1, "pattern": "a{4294967295}"}}}"#,
    ])
  func overflows(text: String) throws {
    #expect(throws: PatternFault.tooLargeNumber) { try fault(text) }
  }

  @Test(
    "and behind a fault no pattern is looked at",
    arguments: [
      #"{"pattern": "a{4294967295}", "minLength": -1}"#, #"{"allOf": [5, {"pattern": "a{4294967295}"}]}"#,
      #"{"patternProperties": {"a{4294967295}": 5}}"#, #"{"not": {"pattern": "a{4294967295}"}, "type": "z"}"#,
    ])
  func faultFirst(text: String) throws { #expect(try fault(text) != nil) }

  @Test(
    "Schemas nest as deep as Python's calls do",
    arguments: [
      ("not", "", 245), ("items", "", 163), ("items", "[", 98), ("allOf", "[", 122),
      ("properties", "{\"a\":", 163),
      ("dependencies", "{\"a\":", 122),
    ])
  func nesting(key: String, opening: String, depth: Int) throws {
    func nested(_ depth: Int) -> String {
      let closing = opening.isEmpty ? "" : opening == "[" ? "]" : "}"
      return String(repeating: "{\"\(key)\":\(opening)", count: depth) + "{}"
        + String(repeating: "\(closing)}", count: depth)
    }
    #expect(try fault(nested(depth)) == nil)
    #expect(throws: PatternFault.nestedTooDeep) { try fault(nested(depth + 1)) }
  }

  @Test("A fault is named with the keys that lead to it")
  func place() throws {
    let text = #"{"properties": {"city": {"items": {"type": "text"}}}}"#
    #expect(try fault(text) == "properties: city: items: type: text, which is no type")
  }
}
