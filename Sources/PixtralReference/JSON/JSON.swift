import CJSON

/// A JSON value. Objects keep the order of their keys.
///
/// json-c reads and writes the text. It is laxer than JSON even when told to be strict, so `JSON(parsing:)` first turns down what
/// json-c would let through: single quotes, `NaN`, comments, raw control characters in strings.
public enum JSON: Sendable, Equatable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([Member])

  public struct Member: Sendable, Equatable {
    public let key: String
    public let value: JSON

    public init(key: String, value: JSON) {
      self.key = key
      self.value = value
    }
  }

  /// The value of a key of an object.
  public subscript(key: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members.last { $0.key == key }?.value
  }

  /// Parses one JSON text.
  ///
  /// - place: named in the error, a file or a line.
  /// - depth: levels of nesting allowed.
  /// - Throws: `InputError` of kind `malformedJSON`.
  public init(parsing bytes: UnsafeRawBufferPointer, place: String, depth: Int = 64) throws {
    func refuse(_ found: String) -> InputError {
      InputError(.malformedJSON, place, expected: "JSON text in UTF-8", found: found)
    }
    guard bytes.count < Int(Int32.max) else { throw refuse("\(bytes.count) bytes, more than 2 GiB") }
    if let (offset, found) = firstLaxByte(bytes) { throw refuse("\(found) at byte \(offset)") }
    guard let tokener = json_tokener_new_ex(Int32(depth)) else { throw refuse("no memory to read it") }
    defer { json_tokener_free(tokener) }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8)
    let value = json_tokener_parse_ex(tokener, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
    defer { json_object_put(value) }
    var error = json_tokener_get_error(tokener)
    if error == json_tokener_continue {
      // A NUL ends the text: a number at the very end is complete, anything else that was open is not.
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
    guard bytes.dropFirst(end).allSatisfy(isSpace) else { throw refuse("more text after the value, at byte \(end)") }
    self = JSON(value)
  }

  public init(parsing text: String, place: String) throws {
    self = try Array(text.utf8).withUnsafeBytes { try JSON(parsing: $0, place: place) }
  }

  /// The whole content of a file as one JSON value.
  public init(file path: String) throws {
    let file = try MappedFile(path)
    self = try JSON(parsing: file.bytes, place: path)
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

  /// The text of the value: on one line, or indented.
  public func text(indented: Bool = false) -> String {
    let value = jsonC()
    defer { json_object_put(value) }
    let layout = indented ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : JSON_C_TO_STRING_PLAIN
    return String(cString: json_object_to_json_string_ext(value, layout | JSON_C_TO_STRING_NOSLASHESCAPE))
  }

  private func jsonC() -> OpaquePointer? {
    switch self {
    case .null: return nil
    case .bool(let value): return json_object_new_boolean(value ? 1 : 0)
    case .integer(let value): return json_object_new_int64(Int64(value))
    // The shortest text that reads back as the same number; JSON has no word for infinities and NaN but null.
    case .number(let value): return value.isFinite ? json_object_new_double_s(value, "\(value)") : nil
    case .string(let value):
      return Array(value.utf8).withUnsafeBytes {
        json_object_new_string_len($0.baseAddress?.assumingMemoryBound(to: CChar.self) ?? emptyCString, Int32($0.count))
      }
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

nonisolated(unsafe) private let emptyCString: UnsafePointer<CChar> = {
  let pointer = UnsafeMutablePointer<CChar>.allocate(capacity: 1)
  pointer.initialize(to: 0)
  return UnsafePointer(pointer)
}()

private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) && byte != 0x0b && byte != 0x0c }

/// The first byte that is in no JSON text, though json-c would take it.
private func firstLaxByte(_ bytes: UnsafeRawBufferPointer) -> (offset: Int, found: String)? {
  var inString = false
  var escaped = false
  for (offset, byte) in bytes.enumerated() {
    if inString {
      if byte < 0x20 { return (offset, "a control character inside a string") }
      if escaped {
        escaped = false
      } else if byte == UInt8(ascii: "\\") {
        escaped = true
      } else if byte == UInt8(ascii: "\"") {
        inString = false
      }
    } else if byte == UInt8(ascii: "\"") {
      inString = true
    } else if !isSpace(byte) && !"{}[]:,+-.0123456789eEtrufalsn".utf8.contains(byte) {
      let shown = (0x21...0x7e).contains(byte) ? "'\(UnicodeScalar(byte))'" : "byte \(byte)"
      return (offset, "\(shown) outside a string")
    }
  }
  return nil
}
