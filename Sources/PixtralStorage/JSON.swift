/// A JSON value as a tree. Objects keep the order of their keys.
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
    return members.first { $0.key == key }?.value
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

  /// Any number; nil for anything else.
  package var decimal: Double? { if case .integer(let value) = self { Double(value) } else { double } }

  /// A number with a fraction or an exponent; nil for anything else.
  package var double: Double? { if case .number(let value) = self { value } else { nil } }
}

// MARK: - Reading

extension JSON {
  /// Parses one JSON text, with all that `JSONReader` refuses. An integer is exact or refused, and so is a
  /// number that no double comes near.
  ///
  /// - place: named in the error, a file or a line.
  /// - values: so many at most, with those inside others: text such as `[{},{},…]` takes thirty times its
  ///   memory as a tree.
  /// - roundsIntegers: whether an integer beyond 64 bits becomes the nearest double, as in texts that others write.
  /// - Throws: `InputError` of kind `malformedJSON`.
  package init(
    parsing text: UnsafeRawBufferPointer, place: String, values limit: Int = .max,
    roundsIntegers: Bool = false
  ) throws {
    var reader = try JSONReader(text, place: place, roundsIntegers: roundsIntegers)
    var room = Room(left: limit, limit: limit, place: place)
    let first = try reader.next()
    self = try JSON(first, &reader, &room)
    _ = try reader.next()
  }

  /// How many values may still come.
  private struct Room {
    var left: Int
    let limit: Int
    let place: String

    mutating func take() throws(InputError) {
      left -= 1
      guard left >= 0 else {
        throw InputError(
          .malformedJSON, place, expected: "JSON text of at most \(limit) values", found: "more")
      }
    }
  }

  package init(
    parsing text: String, place: String, values limit: Int = .max, roundsIntegers: Bool = false
  ) throws {
    var text = text
    self = try text.withUTF8 {
      try JSON(
        parsing: UnsafeRawBufferPointer($0), place: place, values: limit, roundsIntegers: roundsIntegers)
    }
  }

  /// The whole content of a small file as one JSON value.
  ///
  /// - upTo: bytes; a tree may take thirty times the memory of its text.
  /// - values: so many at most.
  package init(file path: String, upTo limit: Int = 1 << 20, values: Int = .max) throws {
    try self.init(file: MappedFile(path), upTo: limit, values: values)
  }

  /// The same of a file that is open.
  package init(file: MappedFile, upTo limit: Int = 1 << 20, values: Int = .max) throws {
    self = try file.withBytes { text in
      guard text.count <= limit else {
        throw InputError(
          .malformedJSON, file.path, expected: "at most \(limit) bytes of JSON", found: "\(text.count)")
      }
      return try JSON(parsing: text, place: file.path, values: values)
    }
  }

  /// The value whose first token has been read.
  private init(_ first: JSONReader.Token, _ reader: inout JSONReader, _ room: inout Room) throws {
    try room.take()
    switch first {
    case .null: self = .null
    case .bool(let value): self = .bool(value)
    case .number(let literal): self = try reader.number(literal)
    case .string(let literal): self = .string(reader.string(literal))
    case .beginArray:
      var values: [JSON] = []
      while true {
        let token = try reader.next()
        if case .endArray = token { break }
        values.append(try JSON(token, &reader, &room))
      }
      self = .array(values)
    case .beginObject:
      var members: [Member] = []
      while case .key(let literal) = try reader.next() {
        let key = reader.string(literal)
        let token = try reader.next()
        members.append(Member(key: key, value: try JSON(token, &reader, &room)))
      }
      self = .object(members)
    case .key, .endObject, .endArray, .end: preconditionFailure("\(first) begins no value")
    }
  }
}

// MARK: - Writing

extension JSON {
  /// The text of the value: on one line, or indented.
  package func text(indented: Bool = false) -> String {
    var bytes: [UInt8] = []
    write(to: &bytes, indentation: indented ? 0 : nil)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The value as a file: indented, with a line feed at its end.
  package var file: [UInt8] { Array("\(text(indented: true))\n".utf8) }

  /// - indentation: of the line that the value stands on, in spaces; nil for everything on one line.
  private func write(to bytes: inout [UInt8], indentation: Int?) {
    switch self {
    case .null: bytes += "null".utf8
    case .bool(let value): bytes += (value ? "true" : "false").utf8
    case .integer(let value): bytes += "\(value)".utf8
    // The shortest text that reads back as the same number; JSON has no word for infinities and NaN
    // but null.
    case .number(let value): bytes += (value.isFinite ? "\(value)" : "null").utf8
    case .string(let value): writeString(value, to: &bytes)
    case .array(let values):
      writeList(values, "[", "]", to: &bytes, indentation) { $0.write(to: &$1, indentation: $2) }
    case .object(let members):
      writeList(members, "{", "}", to: &bytes, indentation) { member, bytes, indentation in
        writeString(member.key, to: &bytes)
        bytes += (indentation == nil ? ":" : ": ").utf8
        member.value.write(to: &bytes, indentation: indentation)
      }
    }
  }
}

/// Elements between brackets, each on a line of its own where lines are indented.
private func writeList<Element>(
  _ elements: [Element], _ opening: String, _ closing: String, to bytes: inout [UInt8], _ indentation: Int?,
  _ write: (Element, inout [UInt8], Int?) -> Void
) {
  func breakLine(_ indentation: Int) {
    bytes.append(UInt8(ascii: "\n"))
    bytes += repeatElement(UInt8(ascii: " "), count: indentation)
  }
  bytes += opening.utf8
  for (index, element) in elements.enumerated() {
    if index > 0 { bytes.append(UInt8(ascii: ",")) }
    if let indentation { breakLine(indentation + 2) }
    write(element, &bytes, indentation.map { $0 + 2 })
  }
  if let indentation, !elements.isEmpty { breakLine(indentation) }
  bytes += closing.utf8
}

/// A string in quotes. What a terminal would obey is escaped, so that it shows what is written.
private func writeString(_ string: String, to bytes: inout [UInt8]) {
  bytes.append(UInt8(ascii: "\""))
  for scalar in string.unicodeScalars {
    if scalar == "\"" || scalar == "\\" { bytes.append(UInt8(ascii: "\\")) }
    if let escape = controlEscape(scalar) {
      bytes += escape.utf8
    } else {
      bytes += UTF8.encode(scalar)!
    }
  }
  bytes.append(UInt8(ascii: "\""))
}

/// Whether bytes are well-formed UTF-8; nothing is copied to find out.
package func isUTF8(_ bytes: UnsafeRawBufferPointer) -> Bool {
  (try? UTF8Span(validating: bytes.bindMemory(to: UInt8.self).span)) != nil
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
