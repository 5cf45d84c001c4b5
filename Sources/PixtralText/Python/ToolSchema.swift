/// Whether a tool's parameters are a JSON schema of Draft 7: what
/// `jsonschema.Draft7Validator.check_schema` looks at. Tokens.md 7.
///
/// Keys that Draft 7 does not define may hold anything. Of the formats that its meta-schema names
/// only `regex` is checked there without further packages, so that `$ref` may be any string.
enum ToolSchema {
  /// What is wrong with it, and where; nil if nothing is.
  static func fault(in schema: PythonValue) -> String? {
    if case .boolean = schema { return nil }
    guard case .dictionary(let members) = schema else { return "a schema that is \(schema.kindName)" }
    for member in members {
      let key = member.key.text
      if let fault = keywords[key]?(member.value) { return "\(key): \(fault)" }
    }
    return nil
  }

  private typealias Rule = @Sendable (PythonValue) -> String?

  private static let keywords: [String: Rule] = [
    "$id": text, "$schema": text, "$ref": text, "$comment": text, "title": text, "description": text,
    "format": text,
    "contentMediaType": text, "contentEncoding": text,
    "readOnly": boolean, "uniqueItems": boolean,
    "maximum": number, "exclusiveMaximum": number, "minimum": number, "exclusiveMinimum": number,
    "multipleOf": { value in number(value) ?? (value.asDouble! <= 0 ? "a number that is not above 0" : nil) },
    "maxLength": count, "minLength": count, "maxItems": count, "minItems": count, "maxProperties": count,
    "minProperties": count,
    "pattern": { value in text(value) ?? regex(value) },
    "additionalItems": fault, "contains": fault, "additionalProperties": fault, "propertyNames": fault,
    "if": fault, "then": fault,
    "else": fault, "not": fault,
    "items": { value in if case .list = value { schemas(value) } else { fault(in: value) } },
    "allOf": schemas, "anyOf": schemas, "oneOf": schemas,
    "required": texts,
    "definitions": { value in each(value, fault) }, "properties": { value in each(value, fault) },
    "patternProperties": { value in
      each(value, fault) ?? value.members.lazy.compactMap { regex(.string($0.key)) }.first
    },
    "dependencies": { value in each(value) { if case .list = $0 { texts($0) } else { fault(in: $0) } } },
    "enum": list, "examples": list,
    "type": { value in
      guard case .list(let names) = value else { return simpleType(value) }
      if names.isEmpty { return "an empty array" }
      return names.lazy.compactMap(simpleType).first ?? (repeats(names) ? "the same type twice" : nil)
    },
  ]

  private static let text: Rule = { if case .string = $0 { nil } else { $0.kindName } }
  private static let boolean: Rule = { if case .boolean = $0 { nil } else { $0.kindName } }
  private static let list: Rule = { if case .list = $0 { nil } else { $0.kindName } }
  private static let number: Rule = { $0.asDouble == nil ? $0.kindName : nil }

  /// A whole number that is not negative; 2.0 is whole.
  private static let count: Rule = { value in
    guard let number = value.asDouble else { return value.kindName }
    if case .float = value, !number.isFinite || number != number.rounded() { return "a fraction" }
    return number < 0 ? "a negative number" : nil
  }

  private static let schemas: Rule = { value in
    guard case .list(let schemas) = value else { return value.kindName }
    return schemas.isEmpty ? "an empty array" : schemas.lazy.compactMap(fault).first
  }

  private static let texts: Rule = { value in
    guard case .list(let texts) = value else { return value.kindName }
    return texts.lazy.compactMap(text).first ?? (repeats(texts) ? "the same name twice" : nil)
  }

  private static let simpleType: Rule = { value in
    guard case .string(let name) = value else { return value.kindName }
    let isType = ["array", "boolean", "integer", "null", "number", "object", "string"].contains(name.text)
    return isType ? nil : "\(name.text), which is no type"
  }

  private static let regex: Rule = { value in
    guard case .string(let pattern) = value, !isPythonRegex(pattern.text) else { return nil }
    return "a pattern that Python does not compile: \(pattern.text)"
  }

  private static func each(_ value: PythonValue, _ rule: (PythonValue) -> String?) -> String? {
    guard case .dictionary(let members) = value else { return value.kindName }
    for member in members {
      if let fault = rule(member.value) { return "\(member.key.text): \(fault)" }
    }
    return nil
  }

  private static func repeats(_ values: [PythonValue]) -> Bool {
    let names = values.compactMap { if case .string(let name) = $0 { name } else { nil } }
    return Set(names).count < names.count
  }
}

extension PythonValue {
  /// The members of a dictionary; none for anything else.
  fileprivate var members: [Member] { if case .dictionary(let members) = self { members } else { [] } }

  /// The value of a number; a boolean is none. An integer beyond the largest float has the sign of
  /// its infinity.
  fileprivate var asDouble: Double? {
    switch self {
    case .integer(let digits): Double(digits) ?? (digits.hasPrefix("-") ? -.infinity : .infinity)
    case .float(let value): value
    default: nil
    }
  }
}
