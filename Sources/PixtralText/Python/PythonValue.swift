/// A value as Python's `json` module reads it, and its text as that module writes it.
/// Tokens.md 4.
///
/// The V7 template sends tools, and the arguments of tool calls, through Python's `json` on their
/// way to the tokenizer, so that what Python does to a number or an escape shows in the tokens.
/// `JSON`, which reads our own files, has no integers beyond 64 bits, no `NaN`, no half surrogates and
/// no key twice; the few rules of Python's module are therefore written out here.
package enum PythonValue: Sendable, Equatable {
  case none
  case boolean(Bool)
  /// In decimal, with any number of digits.
  case integer(String)
  case float(Double)
  case string(PythonString)
  case list([PythonValue])
  /// Keys are unique; each stands where it was first met.
  case dictionary([Member])

  package struct Member: Sendable, Equatable {
    package let key: PythonString
    package var value: PythonValue

    package init(key: PythonString, value: PythonValue) {
      self.key = key
      self.value = value
    }
  }

  /// The value of a key of a dictionary.
  package subscript(key: String) -> PythonValue? {
    guard case .dictionary(let members) = self else { return nil }
    return members.first { $0.key.text == key }?.value
  }
}

/// A string that may, unlike Swift's, hold halves of surrogate pairs. Nothing that holds one is
/// ever tokenized: pydantic refuses it, or the tokenizer does.
package struct PythonString: Sendable, Hashable {
  /// Each half written as U+FFFD.
  package let text: String
  package let hasHalfSurrogate: Bool

  package init(_ text: String, hasHalfSurrogate: Bool = false) {
    self.text = text
    self.hasHalfSurrogate = hasHalfSurrogate
  }
}

/// Two strings are equal if their scalars are. Swift's own comparison takes two spellings of `é` for one.
extension PythonString {
  package static func == (a: PythonString, b: PythonString) -> Bool {
    a.hasHalfSurrogate == b.hasHalfSurrogate && a.text.utf8.elementsEqual(b.text.utf8)
  }

  package func hash(into hasher: inout Hasher) {
    for byte in text.utf8 { hasher.combine(byte) }
    hasher.combine(hasHalfSurrogate)
  }
}

extension PythonValue {
  /// What it is, for a message.
  package var kindName: String {
    switch self {
    case .none: "null"
    case .boolean: "a boolean"
    case .integer, .float: "a number"
    case .string(let value): value.hasHalfSurrogate ? "a string with half of a surrogate pair" : "a string"
    case .list: "an array"
    case .dictionary: "an object"
    }
  }
}

extension PythonValue: ExpressibleByDictionaryLiteral {
  package init(dictionaryLiteral elements: (String, PythonValue)...) {
    self = .dictionary(elements.map { Member(key: PythonString($0.0), value: $0.1) })
  }
}
