import CJSON

/// A JSON value. Objects keep the order of their keys.
///
/// json-c reads and writes the text. It is laxer than JSON even when told to be strict, and version
/// 0.16 spoils some escaped characters, so `JSON(parsing:)` first turns down what json-c would let
/// through (single quotes, `NaN`, comments, raw control characters in strings, halves of surrogate
/// pairs) and writes escaped pairs out as UTF-8.
package enum JSON: Sendable, Equatable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([Member])

  package struct Member: Sendable, Equatable {
    package let key: String
    package let value: JSON

    package init(key: String, value: JSON) {
      self.key = key
      self.value = value
    }
  }

  /// The value of a key of an object.
  package subscript(key: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members.last { $0.key == key }?.value
  }

  /// Parses one JSON text.
  ///
  /// - place: named in the error, a file or a line.
  /// - depth: levels of nesting allowed.
  /// - Throws: `InputError` of kind `malformedJSON`.
  package init(parsing text: UnsafeRawBufferPointer, place: String, depth: Int = 64) throws {
    func refuse(_ found: String) -> InputError {
      InputError(.malformedJSON, place, expected: "JSON text in UTF-8", found: found)
    }
    guard isUTF8(text) else { throw refuse("bytes that are no UTF-8") }
    guard text.count < Int(Int32.max) else { throw refuse("\(text.count) bytes, more than 2 GiB") }
    let (bytes, keys): ([UInt8], Int)
    do throws(LaxByte) { (bytes, keys) = try strict(text) } catch {
      throw refuse("\(error.found) at byte \(error.offset)")
    }
    guard let tokener = json_tokener_new_ex(Int32(depth)) else { throw refuse("no memory to read it") }
    defer { json_tokener_free(tokener) }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8)
    let value = bytes.withUnsafeBytes {
      json_tokener_parse_ex(tokener, $0.baseAddress?.assumingMemoryBound(to: CChar.self), Int32($0.count))
    }
    defer { json_object_put(value) }
    var error = json_tokener_get_error(tokener)
    if error == json_tokener_continue {
      // A NUL ends the text: a number at the very end is complete, anything else that was open is
      // not.
      let rest = json_tokener_parse_ex(tokener, "\0", 1)
      error = json_tokener_get_error(tokener)
      guard error == json_tokener_success else { throw refuse("a text that ends before the value does") }
      defer { json_object_put(rest) }
      self = JSON(rest)
      return
    }
    guard error == json_tokener_success else {
      let message = String(cString: json_tokener_error_desc(error))
      throw refuse("\(message) at byte \(json_tokener_get_parse_end(tokener))")
    }
    let end = Int(json_tokener_get_parse_end(tokener))
    guard bytes.dropFirst(end).allSatisfy(isSpace) else {
      throw refuse("more text after the value, at byte \(end)")
    }
    self = JSON(value)
    // json-c keeps the last of two equal keys, so that one of them shows only in the numbers.
    guard keyCount == keys else { throw refuse("a key that an object has twice") }
  }

  /// The keys of all objects in the value.
  private var keyCount: Int {
    switch self {
    case .object(let members): members.reduce(members.count) { $0 + $1.value.keyCount }
    case .array(let values): values.reduce(0) { $0 + $1.keyCount }
    default: 0
    }
  }

  package init(parsing text: String, place: String) throws {
    self = try Array(text.utf8).withUnsafeBytes { try JSON(parsing: $0, place: place) }
  }

  /// The whole content of a file as one JSON value.
  package init(file path: String) throws {
    self = try MappedFile(path).withBytes { try JSON(parsing: $0, place: path) }
  }

  private init(_ value: OpaquePointer?) {
    switch json_object_get_type(value) {
    case json_type_boolean: self = .bool(json_object_get_boolean(value) != 0)
    case json_type_int: self = .integer(Int(json_object_get_int64(value)))
    case json_type_double: self = .number(json_object_get_double(value))
    case json_type_string:
      let length = Int(json_object_get_string_len(value))
      let bytes = UnsafeRawBufferPointer(start: json_object_get_string(value), count: length)
      self = .string(String(decoding: bytes, as: UTF8.self))
    case json_type_array:
      self = .array((0..<json_object_array_length(value)).map { JSON(json_object_array_get_idx(value, $0)) })
    case json_type_object:
      var members: [Member] = []
      var position = json_object_iter_begin(value)
      var end = json_object_iter_end(value)
      while json_object_iter_equal(&position, &end) == 0 {
        let key = String(cString: json_object_iter_peek_name(&position))
        members.append(Member(key: key, value: JSON(json_object_iter_peek_value(&position))))
        json_object_iter_next(&position)
      }
      self = .object(members)
    default: self = .null
    }
  }

  /// The integers of an array of integers; nil for anything else.
  package var integers: [Int]? {
    guard case .array(let values) = self else { return nil }
    var integers: [Int] = []
    for value in values {
      guard case .integer(let integer) = value else { return nil }
      integers.append(integer)
    }
    return integers
  }

  /// A string without its quotes; anything else as its text.
  package var plainText: String { if case .string(let text) = self { text } else { text() } }

  /// A number with a fraction or an exponent; nil for anything else.
  package var double: Double? { if case .number(let value) = self { value } else { nil } }

  /// The text of the value: on one line, or indented.
  package func text(indented: Bool = false) -> String {
    let value = jsonC()
    defer { json_object_put(value) }
    let layout = indented ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : JSON_C_TO_STRING_PLAIN
    return String(cString: json_object_to_json_string_ext(value, layout | JSON_C_TO_STRING_NOSLASHESCAPE))
  }

  /// The value as a file: indented, with a line feed at its end.
  package var file: [UInt8] { Array("\(text(indented: true))\n".utf8) }

  private func jsonC() -> OpaquePointer? {
    switch self {
    case .null: return nil
    case .bool(let value): return json_object_new_boolean(value ? 1 : 0)
    case .integer(let value): return json_object_new_int64(Int64(value))
    // The shortest text that reads back as the same number; JSON has no word for infinities and NaN
    // but null.
    case .number(let value): return value.isFinite ? json_object_new_double_s(value, "\(value)") : nil
    case .string(let value):
      return value.withCString { json_object_new_string_len($0, Int32(value.utf8.count)) }
    case .array(let values):
      let array = json_object_new_array_ext(Int32(values.count))
      for value in values { json_object_array_add(array, value.jsonC()) }
      return array
    case .object(let members):
      let object = json_object_new_object()
      for member in members { json_object_object_add(object, member.key, member.value.jsonC()) }
      return object
    }
  }
}

private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d }

/// Whether bytes are well-formed UTF-8; nothing is copied to find out.
package func isUTF8(_ bytes: UnsafeRawBufferPointer) -> Bool {
  (try? UTF8Span(validating: bytes.bindMemory(to: UInt8.self).span)) != nil
}

/// A byte that is in no JSON text, though json-c would take it.
private struct LaxByte: Error {
  let offset: Int
  let found: String
}

/// The text as json-c may have it: checked for what json-c would let through, pairs of surrogate
/// escapes written out.
///
/// json-c 0.16 joins a pair such as `\ud836\udc00` rightly and then takes the result for a
/// surrogate again, if its low 16 bits look like one.
///
/// - Returns: the text, and how many keys all its objects have.
private func strict(_ text: UnsafeRawBufferPointer) throws(LaxByte) -> (bytes: [UInt8], keys: Int) {
  var bytes: [UInt8] = []
  var keys = 0
  bytes.reserveCapacity(text.count)
  var inString = false
  var at = 0
  while at < text.count {
    let byte = text[at]
    if inString {
      if byte < 0x20 { throw LaxByte(offset: at, found: "a control character inside a string") }
      if byte == UInt8(ascii: "\\") {
        let unit = escapedUnit(text, at)
        // json-c's keys end at a NUL.
        if unit == 0 { throw LaxByte(offset: at, found: "an escaped NUL") }
        if let high = unit, UTF16.isSurrogate(high) {
          guard UTF16.isLeadSurrogate(high), let low = escapedUnit(text, at + 6), UTF16.isTrailSurrogate(low)
          else {
            throw LaxByte(offset: at, found: "half of a surrogate pair")
          }
          bytes += String(decoding: [high, low], as: UTF16.self).utf8
          at += 12
          continue
        }
        // The escaped character comes along, so that a quote or a backslash is not taken for the
        // end of something.
        bytes.append(byte)
        at += 1
        if at == text.count { break }
      } else if byte == UInt8(ascii: "\"") {
        inString = false
      }
    } else if byte == UInt8(ascii: "\"") {
      inString = true
    } else if !isSpace(byte) && !"{}[]:,+-.0123456789eEtrufalsn".utf8.contains(byte) {
      let shown = (0x21...0x7e).contains(byte) ? "'\(UnicodeScalar(byte))'" : "byte \(byte)"
      throw LaxByte(offset: at, found: "\(shown) outside a string")
    } else if byte == UInt8(ascii: ":") {
      keys += 1
    }
    bytes.append(text[at])
    at += 1
  }
  return (bytes, keys)
}

/// The code unit of an escape `\uXXXX` that begins here; nil if none does.
private func escapedUnit(_ text: UnsafeRawBufferPointer, _ at: Int) -> UInt16? {
  guard at + 6 <= text.count, text[at] == UInt8(ascii: "\\"), text[at + 1] == UInt8(ascii: "u") else {
    return nil
  }
  let digits = text[at + 2..<at + 6]
  guard digits.allSatisfy({ UnicodeScalar($0).properties.isASCIIHexDigit }) else { return nil }
  return UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
}

// Literals, so that what is written reads like JSON.

extension JSON: ExpressibleByDictionaryLiteral {
  package init(dictionaryLiteral elements: (String, JSON)...) {
    self = .object(elements.map { Member(key: $0.0, value: $0.1) })
  }
}

extension JSON: ExpressibleByArrayLiteral {
  package init(arrayLiteral elements: JSON...) { self = .array(elements) }
}

extension JSON: ExpressibleByStringLiteral {
  package init(stringLiteral value: String) { self = .string(value) }
}
