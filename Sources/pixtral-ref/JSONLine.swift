import PixtralStorage
import PixtralText

/// An object on its way to a line. Long lists of tokens are written straight into it, without a
/// tree of values in between.
struct JSONLine {
  private var bytes: [UInt8] = [UInt8(ascii: "{")]

  private mutating func key(_ key: String) {
    if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
    bytes += "\"\(key)\":".utf8
  }

  mutating func add(_ key: String, _ value: PythonValue) {
    self.key(key)
    value.write(to: &bytes, compact: true)
  }

  mutating func add(_ key: String, _ text: String) {
    self.key(key)
    writeJSONString(text, to: &bytes)
  }

  mutating func add(_ key: String, _ number: Int) {
    self.key(key)
    bytes += String(number).utf8
  }

  mutating func add(_ key: String, _ numbers: [Int]) {
    list(key, numbers) { number, bytes in writeDecimal(number, to: &bytes) }
  }

  /// The pieces of tokens as one string.
  mutating func addText(_ key: String, _ tokens: [Int], of vocabulary: Vocabulary) {
    self.key(key)
    bytes.append(UInt8(ascii: "\""))
    for token in tokens { writeEscaped(vocabulary.pieces[token].text, to: &bytes) }
    bytes.append(UInt8(ascii: "\""))
  }

  mutating func addPieces(_ key: String, _ tokens: [Int], of vocabulary: Vocabulary) {
    list(key, tokens) { token, bytes in writeJSONString(vocabulary.pieces[token].text, to: &bytes) }
  }

  mutating func add(_ key: String, _ error: InputError) {
    add(key, ["type": .string(PythonString(error.type)), "message": .string(PythonString("\(error)"))])
  }

  private mutating func list(_ key: String, _ elements: [Int], _ write: (Int, inout [UInt8]) -> Void) {
    self.key(key)
    bytes.append(UInt8(ascii: "["))
    for (index, element) in elements.enumerated() {
      if index > 0 { bytes.append(UInt8(ascii: ",")) }
      write(element, &bytes)
    }
    bytes.append(UInt8(ascii: "]"))
  }

  consuming func finish() -> [UInt8] {
    bytes += [UInt8(ascii: "}"), UInt8(ascii: "\n")]
    return bytes
  }
}

/// A number that is not negative. `String(number)` would make a string for each token.
private func writeDecimal(_ number: Int, to bytes: inout [UInt8]) {
  if number >= 10 { writeDecimal(number / 10, to: &bytes) }
  bytes.append(UInt8(ascii: "0") + UInt8(number % 10))
}
