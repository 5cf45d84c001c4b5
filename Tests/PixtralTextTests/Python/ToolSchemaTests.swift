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
}
