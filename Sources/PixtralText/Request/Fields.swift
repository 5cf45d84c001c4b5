import PixtralStorage

/// The keys of one object: each is taken once, and in the end none may be left.
struct Fields {
  let place: String
  private var members: [PythonValue.Member]

  init(_ value: PythonValue, place: String, what: String) throws {
    guard case .dictionary(let members) = value else { throw wrongType(place, what, value) }
    self.place = place
    self.members = members
  }

  mutating func take(_ key: String) -> PythonValue? {
    guard let at = members.firstIndex(where: { $0.key.text == key }) else { return nil }
    return members.remove(at: at).value
  }

  func finish() throws {
    guard let member = members.first else { return }
    throw wrong(
      member.key.text, "no key of this name", "one",
      advice: "remove it: mistral-common's ChatCompletionRequest refuses keys that it does not know")
  }

  mutating func required(_ key: String, _ expected: String) throws -> PythonValue {
    guard let value = take(key) else { throw missing(key, expected) }
    return value
  }

  func has(_ key: String) -> Bool { members.contains { $0.key.text == key } }

  mutating func pythonString(_ key: String) throws -> PythonString {
    let value = try required(key, "a string")
    guard case .string(let text) = value else { throw wrongType("\(place), \(key)", "a string", value) }
    return text
  }

  /// A string; halves of surrogate pairs in it are U+FFFD, which no name and no id may hold either.
  mutating func string(_ key: String) throws -> String { try pythonString(key).text }

  mutating func string(_ key: String, default absent: String) throws -> String {
    try has(key) ? string(key) : absent
  }

  /// nil for null as for no such key.
  mutating func optionalString(_ key: String) throws -> PythonString? {
    guard let at = members.firstIndex(where: { $0.key.text == key }) else { return nil }
    if members[at].value == .none {
      members.remove(at: at)
      return nil
    }
    return try pythonString(key)
  }

  mutating func boolean(_ key: String) throws -> Bool? {
    guard let value = take(key) else { return nil }
    guard let boolean = value.asBoolean else { throw wrongType("\(place), \(key)", "a boolean", value) }
    return boolean
  }

  /// One of a few words. `orAbsent`: null is refused, and no such key is not.
  mutating func name(_ key: String, of names: [String], orAbsent: Bool = false) throws -> String? {
    guard let value = take(key), orAbsent || value != .none else { return nil }
    guard let name = value.asText, names.contains(name) else {
      throw wrong(key, names.joined(separator: ", "), value.asText ?? value.kindName)
    }
    return name
  }

  mutating func number(_ key: String, in range: ClosedRange<Double>) throws -> Double? {
    guard let value = take(key) else { return nil }
    guard let number = value.asNumber, range.contains(number) else {
      throw wrong(key, "a number from \(range.lowerBound) to \(range.upperBound)", value.dumped())
    }
    return number
  }

  /// A whole number from 0 on, or null. One beyond 64 bits counts as the largest of them.
  mutating func natural(_ key: String) throws -> UInt64? {
    guard let value = take(key), value != .none else { return nil }
    guard let number = value.asWholeNumber, number >= 0 else {
      throw wrong(key, "a whole number, not negative", value.dumped())
    }
    if case .integer(let digits) = value, let exact = UInt64(digits) { return exact }
    return UInt64(exactly: number) ?? .max
  }

  /// The elements of an array with their places; nil for null as for no such key.
  mutating func list(_ key: String) throws -> [(PythonValue, place: String)]? {
    guard let value = take(key), value != .none else { return nil }
    guard case .list(let values) = value else { throw wrongType("\(place), \(key)", "an array", value) }
    return values.enumerated().map { ($1, "\(place), \(key) \($0)") }
  }

  func missing(_ key: String, _ expected: String) -> InputError { wrong(key, expected, "no such key") }

  func wrong(_ key: String, _ expected: String, _ found: String, advice: String = "") -> InputError {
    InputError(
      .wrongRequest, "\(place), \(shortened(key))", expected: expected, found: shortened(found),
      advice: advice,
      exception: "ValidationError")
  }
}

func wrongType(_ place: String, _ expected: String, _ found: PythonValue) -> InputError {
  InputError(.wrongRequest, place, expected: expected, found: found.kindName, exception: "ValidationError")
}
