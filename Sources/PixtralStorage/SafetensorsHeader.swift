/// Reads the header of a safetensors file, an object of tensors by name, straight from its text. What
/// is no header is refused at the first token that is wrong, so that no text costs more memory than the
/// tensors in front of it.
struct SafetensorsHeader {
  private var reader: JSONReader
  private let path: String
  private let data: Range<Int>

  /// - data: the bytes of the file that follow the header.
  init(_ text: UnsafeRawBufferPointer, _ path: String, data: Range<Int>) throws {
    reader = try JSONReader(text, place: "\(path) (header)")
    self.path = path
    self.data = data
  }

  /// The tensors in the order of the header; reads to its end.
  ///
  /// - Throws: `InputError` of kind `malformedJSON` or `malformedSafetensors`.
  mutating func tensors() throws -> [Safetensors.Tensor] {
    guard case .beginObject = try reader.next() else {
      throw refuse(path, expected: "a header that is a JSON object", found: "another JSON value")
    }
    var tensors: [Safetensors.Tensor] = []
    var names: Set<String> = []
    while case .key(let key) = try reader.next() {
      let name = reader.string(key)
      if name == "__metadata__" {
        try metadata { _, _ in }
      } else {
        // Keys differ byte for byte; strings of Swift must differ in more than how an accent is written.
        guard names.insert(name).inserted else {
          throw refuse(
            "\(path), tensor \(name)", expected: "each name once",
            found: "a second that Unicode takes for the same")
        }
        tensors.append(try tensor(name))
      }
    }
    // Nothing may follow.
    _ = try reader.next()
    return tensors
  }

  /// What `__metadata__` holds, of a header that has been checked.
  mutating func metadata() throws -> [String: String] {
    var found: [String: String] = [:]
    _ = try reader.next()
    while case .key(let key) = try reader.next() {
      if reader.string(key) == "__metadata__" {
        try metadata { found[$0] = $1 }
      } else {
        try reader.skip(try reader.next())
      }
    }
    return found
  }

  /// An object of strings, or null.
  private mutating func metadata(_ note: (_ key: String, _ value: String) -> Void) throws {
    let place = "\(path), __metadata__"
    let expected = "an object of strings, or null"
    let start = reader.offset
    switch try reader.next() {
    case .null: return
    case .beginObject: break
    default: throw refuse(place, expected: expected, found: reader.excerpt(from: start))
    }
    while case .key(let key) = try reader.next() {
      let start = reader.offset
      guard case .string(let value) = try reader.next() else {
        throw refuse(place, expected: expected, found: reader.excerpt(from: start))
      }
      note(reader.string(key), reader.string(value))
    }
  }

  /// `{"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}`, and other keys that mean nothing.
  private mutating func tensor(_ name: String) throws -> Safetensors.Tensor {
    let place = "\(path), tensor \(name)"
    let start = reader.offset
    var type: String?
    var (shape, offsets): ([Int]?, [Int]?)
    guard case .beginObject = try reader.next() else { throw malformed(place, start) }
    while case .key(let key) = try reader.next() {
      let value = try reader.next()
      switch reader.string(key) {
      case "dtype":
        guard case .string(let literal) = value else { throw malformed(place, start) }
        type = reader.string(literal)
      case "shape": shape = try sizes(value, place, start)
      case "data_offsets": offsets = try sizes(value, place, start)
      default: try reader.skip(value)
      }
    }
    guard let type, let shape, let offsets, offsets.count == 2 else { throw malformed(place, start) }
    guard let bits = bitsPerValue[type] else {
      let known = bitsPerValue.keys.sorted().joined(separator: ", ")
      throw refuse(place, expected: "a dtype of \(known)", found: type)
    }
    guard let size = byteCount(shape, bits) else {
      throw refuse(place, expected: "a shape of whole bytes that fit in memory", found: "\(type) \(shape)")
    }
    guard offsets[0] <= offsets[1], offsets[1] <= data.count else {
      throw refuse(
        place, expected: "bytes within the \(data.count) that follow the header",
        found: "bytes \(offsets[0]) to \(offsets[1])", advice: "the file is cut off or damaged")
    }
    guard offsets[1] - offsets[0] == size else {
      throw refuse(place, expected: "\(size) bytes for \(type) \(shape)", found: "\(offsets[1] - offsets[0])")
    }
    return Safetensors.Tensor(
      name: name, typeName: type, shape: shape,
      range: data.lowerBound + offsets[0]..<data.lowerBound + offsets[1])
  }

  /// An array of whole numbers from 0.
  private mutating func sizes(_ first: JSONReader.Token, _ place: String, _ start: Int) throws -> [Int] {
    guard case .beginArray = first else { throw malformed(place, start) }
    var sizes: [Int] = []
    while true {
      switch try reader.next() {
      case .endArray: return sizes
      case .number(let literal):
        guard let size = reader.size(literal) else { throw malformed(place, start) }
        // NumPy goes no further either.
        guard sizes.count < 64 else {
          throw refuse(place, expected: "at most 64 dimensions", found: "more")
        }
        sizes.append(size)
      default: throw malformed(place, start)
      }
    }
  }

  private func malformed(_ place: String, _ start: Int) -> InputError {
    refuse(
      place, expected: "an object of dtype, shape and two data_offsets", found: reader.excerpt(from: start))
  }

  private func refuse(
    _ place: String, expected: String, found: String, advice: String = ""
  ) -> InputError {
    InputError(.malformedSafetensors, place, expected: expected, found: found, advice: advice)
  }
}

/// Every dtype of safetensors 0.8.
private let bitsPerValue: [String: UInt] = [
  "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
  "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
  "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
  "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64,
]

/// Bytes of a tensor; nil if the product does not fit, or ends within a byte. Unsigned, as safetensors
/// counts: [2⁶², 2, 0] is an empty tensor.
func byteCount(_ shape: [Int], _ bits: UInt) -> Int? {
  var count: UInt = 1
  for factor in shape.map(UInt.init) + [bits] {
    let (product, overflow) = count.multipliedReportingOverflow(by: factor)
    if overflow { return nil }
    count = product
  }
  return count % 8 == 0 ? Int(count / 8) : nil
}
