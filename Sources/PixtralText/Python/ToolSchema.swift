import PixtralStorage

/// Whether a tool's parameters are a JSON schema of Draft 7: what
/// `jsonschema.Draft7Validator.check_schema` looks at. Tokens.md 7.
///
/// Keys that Draft 7 does not define may hold anything. Of the formats that its meta-schema names
/// only `regex` is checked there without further packages, so that `$ref` may be any string.
enum ToolSchema {
  /// What is wrong with it, and where; nil if nothing is.
  ///
  /// - Throws: what `re` raises for a pattern if that is no `re.error`.
  static func fault(in schema: PythonValue) throws(PatternFault) -> String? {
    var check = SchemaCheck()
    try check.schema(schema, calls: 0)
    return check.fault
  }

  /// Refuses what is no schema.
  ///
  /// - exception: of a schema that is wrong; a pattern can raise another.
  static func check(_ schema: PythonValue, place: String, exception: String) throws(InputError) {
    let expected = "a JSON schema of Draft 7"
    let fault: String?
    do { fault = try self.fault(in: schema) } catch .nestedTooDeep {
      throw .request(place, expected, "one nested deeper than Python goes", "RecursionError")
    } catch {
      throw .request(
        place, expected, "a pattern with a number larger than Python's re takes", "OverflowError")
    }
    if let fault { throw .request(place, expected, fault, exception) }
  }
}

/// One walk through a schema, in the order in which jsonschema goes through its meta-schema: of a
/// fault and a pattern that raises, what comes first counts.
private struct SchemaCheck {
  /// The first fault, with the keys that lead to it.
  private(set) var fault: String?
  /// Whether to look for patterns that raise behind a fault too. jsonschema does so where the
  /// meta-schema says anyOf.
  private var looksOn = false
  private var path: [String] = []

  private var isDone: Bool { fault != nil && !looksOn }

  private mutating func wrong(_ found: String) {
    if fault == nil { fault = (path + [found]).joined(separator: ": ") }
  }

  /// - calls: how many of Python's calls there are around it.
  mutating func schema(_ value: PythonValue, calls: Int) throws(PatternFault) {
    guard calls < deepestCalls else { throw .nestedTooDeep }
    if case .boolean = value { return }
    guard case .dictionary(let members) = value else { return wrong("a schema that is \(value.kindName)") }
    let known = members.compactMap { member in ranks[member.key.text].map { (rank: $0, member) } }
    for (_, member) in known.sorted(by: { $0.rank < $1.rank }) where !isDone {
      path.append(member.key.text)
      try keyword(member.key.text, member.value, calls)
      path.removeLast()
    }
  }

  private mutating func keyword(_ key: String, _ value: PythonValue, _ calls: Int) throws(PatternFault) {
    switch key {
    case "readOnly", "uniqueItems": if case .boolean = value {} else { wrong(value.kindName) }
    case "enum", "examples": if case .list = value {} else { wrong(value.kindName) }
    case "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum": _ = number(value)
    case "multipleOf":
      if let number = number(value), number <= 0 { wrong("a number that is not above 0") }
    case "maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties": count(value)
    case "pattern":
      text(value)
      if case .string(let pattern) = value { try self.pattern(pattern, calls) }
    case "additionalItems", "contains", "additionalProperties", "propertyNames", "if", "then", "else", "not":
      try schema(value, calls: calls + 4)
    case "allOf", "anyOf", "oneOf": try schemas(value, calls: calls + 8)
    case "items":
      try either { check throws(PatternFault) in
        if case .list = value {
          try check.schemas(value, calls: calls + 10)
        } else {
          try check.schema(value, calls: calls + 6)
        }
      }
    case "definitions", "properties": try schemas(of: value, calls)
    case "patternProperties":
      try schemas(of: value, calls)
      guard case .dictionary(let members) = value else { return }
      for member in members where !isDone { try pattern(member.key, calls) }
    case "dependencies":
      try each(value) { check, value throws(PatternFault) in
        try check.either { check throws(PatternFault) in
          if case .list = value { check.texts(value) } else { try check.schema(value, calls: calls + 8) }
        }
      }
    case "required": texts(value)
    case "type":
      guard case .list(let names) = value else { return simpleType(value) }
      if names.isEmpty { wrong("an empty array") }
      for name in names where !isDone { simpleType(name) }
      if repeats(names) { wrong("the same type twice") }
    default: text(value)
    }
  }

  /// What jsonschema checks as one of several possibilities: to the end, whatever it finds.
  private mutating func either(
    _ body: (inout SchemaCheck) throws(PatternFault) -> Void
  ) throws(PatternFault) {
    let before = looksOn
    looksOn = true
    try body(&self)
    looksOn = before
  }

  private mutating func text(_ value: PythonValue) {
    if case .string = value {} else { wrong(value.kindName) }
  }

  private mutating func number(_ value: PythonValue) -> Double? {
    guard let number = value.asDouble else {
      wrong(value.kindName)
      return nil
    }
    return number
  }

  /// A whole number that is not negative; 2.0 is whole.
  private mutating func count(_ value: PythonValue) {
    guard let number = number(value) else { return }
    if case .float = value, !number.isFinite || number != number.rounded() { return wrong("a fraction") }
    if number < 0 { wrong("a negative number") }
  }

  private mutating func simpleType(_ value: PythonValue) {
    guard case .string(let name) = value else { return wrong(value.kindName) }
    guard ["array", "boolean", "integer", "null", "number", "object", "string"].contains(name.text) else {
      return wrong("\(name.text), which is no type")
    }
  }

  private mutating func texts(_ value: PythonValue) {
    guard case .list(let texts) = value else { return wrong(value.kindName) }
    for element in texts where !isDone { text(element) }
    if repeats(texts) { wrong("the same name twice") }
  }

  private mutating func schemas(_ value: PythonValue, calls: Int) throws(PatternFault) {
    guard case .list(let schemas) = value else { return wrong(value.kindName) }
    if schemas.isEmpty { wrong("an empty array") }
    for element in schemas where !isDone { try schema(element, calls: calls) }
  }

  private mutating func schemas(of value: PythonValue, _ calls: Int) throws(PatternFault) {
    try each(value) { check, value throws(PatternFault) in try check.schema(value, calls: calls + 6) }
  }

  private mutating func each(
    _ value: PythonValue, _ body: (inout SchemaCheck, PythonValue) throws(PatternFault) -> Void
  ) throws(PatternFault) {
    guard case .dictionary(let members) = value else { return wrong(value.kindName) }
    for member in members where !isDone {
      path.append(member.key.text)
      try body(&self, member.value)
      path.removeLast()
    }
  }

  private mutating func pattern(_ pattern: PythonString, _ calls: Int) throws(PatternFault) {
    do { try checkPythonRegex(pattern.text, calls: calls) } catch .malformed {
      wrong("a pattern that Python does not compile: \(pattern.text)")
    }
  }

  private func repeats(_ values: [PythonValue]) -> Bool {
    let names = values.compactMap { if case .string(let name) = $0 { name } else { nil } }
    return Set(names).count < names.count
  }
}

/// The keywords in the order of the meta-schema. `default` and `const` may be anything.
private let ranks: [String: Int] = {
  let keywords = [
    "$id", "$schema", "$ref", "$comment", "title", "description", "readOnly", "examples", "multipleOf",
    "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength", "pattern",
    "additionalItems", "items", "maxItems", "minItems", "uniqueItems", "contains", "maxProperties",
    "minProperties", "required", "additionalProperties", "definitions", "properties", "patternProperties",
    "dependencies", "propertyNames", "enum", "type", "format", "contentMediaType", "contentEncoding", "if",
    "then", "else", "allOf", "anyOf", "oneOf", "not",
  ]
  return Dictionary(uniqueKeysWithValues: keywords.enumerated().map { ($1, $0) })
}()

extension PythonValue {
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
