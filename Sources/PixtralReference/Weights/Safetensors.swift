/// How the values of a tensor are stored.
public enum Element: String, Sendable, CaseIterable {
  case bf16 = "BF16"
  case f16 = "F16"
  case f32 = "F32"
  case f64 = "F64"

  public var size: Int {
    switch self {
    case .bf16, .f16: 2
    case .f32: 4
    case .f64: 8
    }
  }
}

/// A safetensors file, mapped and checked: an 8-byte little-endian header length, a JSON header, the tensors' bytes.
public struct Safetensors: Sendable {
  public struct Tensor: Sendable {
    public let name: String
    public let element: Element
    public let shape: [Int]
    /// Bytes in the file.
    public let range: Range<Int>
  }

  public let file: MappedFile
  /// In the order of their bytes.
  public let tensors: [Tensor]
  /// The header's `__metadata__`, empty if there is none.
  public let metadata: [JSON.Member]

  /// Opens a file and checks its whole structure: the tensors' bytes lie inside it, side by side, without overlap or hole.
  ///
  /// - Throws: `InputError`, naming the tensor at fault.
  public init(_ path: String) throws {
    let file = try MappedFile(path)
    func refuse(_ what: String, expected: String, found: String, advice: String = "") -> InputError {
      InputError(.malformedSafetensors, what, expected: expected, found: found, advice: advice)
    }
    guard file.bytes.count >= 8 else {
      throw refuse(path, expected: "8 bytes of header length", found: "\(file.bytes.count) bytes")
    }
    let length = UInt64(littleEndian: file.bytes.loadUnaligned(as: UInt64.self))
    guard length <= file.bytes.count - 8 else {
      throw refuse(
        path, expected: "a header of at most \(file.bytes.count - 8) bytes", found: "a header length of \(length)",
        advice: "the file is cut off or is no safetensors file")
    }
    guard length <= 100_000_000 else {
      throw refuse(path, expected: "a header of at most 100,000,000 bytes", found: "\(length)")
    }
    let start = 8 + Int(length)
    let header = try JSON(parsing: UnsafeRawBufferPointer(rebasing: file.bytes[8..<start]), place: "\(path) (header)")
    guard case .object(let entries) = header else {
      throw refuse(path, expected: "a header that is a JSON object", found: "another JSON value")
    }

    var tensors: [Tensor] = []
    for entry in entries where entry.key != "__metadata__" {
      let place = "\(path), tensor \(entry.key)"
      guard case .string(let type)? = entry.value["dtype"], let shape = entry.value["shape"]?.integers,
        let offsets = entry.value["data_offsets"]?.integers, offsets.count == 2
      else { throw refuse(place, expected: "dtype, shape and two data_offsets", found: entry.value.text()) }
      guard let element = Element(rawValue: type) else {
        let known = Element.allCases.map(\.rawValue).joined(separator: ", ")
        throw refuse(place, expected: "a dtype of \(known)", found: type, advice: "convert the checkpoint first")
      }
      guard let size = byteCount(shape, element) else {
        throw refuse(place, expected: "a shape of sizes that fit in memory", found: "\(shape)")
      }
      let available = file.bytes.count - start
      guard offsets[0] >= 0, offsets[0] <= offsets[1], offsets[1] <= available else {
        throw refuse(
          place, expected: "bytes within the \(available) that follow the header", found: "bytes \(offsets[0]) to \(offsets[1])",
          advice: "the file is cut off or damaged")
      }
      guard offsets[1] - offsets[0] == size else {
        throw refuse(place, expected: "\(size) bytes for \(type) \(shape)", found: "\(offsets[1] - offsets[0])")
      }
      tensors.append(Tensor(name: entry.key, element: element, shape: shape, range: start + offsets[0]..<start + offsets[1]))
    }

    tensors.sort { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }
    var end = start
    for tensor in tensors {
      guard tensor.range.lowerBound == end else {
        throw refuse(
          "\(path), tensor \(tensor.name)", expected: "to begin at byte \(end - start) of the data",
          found: "byte \(tensor.range.lowerBound - start)",
          advice: tensor.range.lowerBound < end ? "two tensors overlap" : "bytes between tensors belong to none")
      }
      end = tensor.range.upperBound
    }
    guard end == file.bytes.count else {
      throw refuse(path, expected: "a file of \(end) bytes", found: "\(file.bytes.count) bytes")
    }
    // json-c keeps the last of two equal keys, so a repeated tensor is seen only in the number of its descriptions.
    let descriptions = occurrences(of: "\"data_offsets\"", in: file.bytes[8..<start])
    guard descriptions <= tensors.count || entries.contains(where: { $0.key.contains("data_offsets") }) else {
      throw refuse(path, expected: "each tensor once", found: "\(descriptions) descriptions of \(tensors.count) tensors")
    }
    self.file = file
    self.tensors = tensors
    if let json = header["__metadata__"] {
      guard case .object(let members) = json, members.allSatisfy({ if case .string = $0.value { true } else { false } }) else {
        throw refuse("\(path), __metadata__", expected: "an object of strings", found: json.text())
      }
      metadata = members
    } else {
      metadata = []
    }
  }
}

/// Bytes of a tensor; nil if a size is negative or the product does not fit.
private func byteCount(_ shape: [Int], _ element: Element) -> Int? {
  var count = element.size
  for size in shape {
    let (product, overflow) = count.multipliedReportingOverflow(by: size)
    if size < 0 || overflow { return nil }
    count = product
  }
  return count
}

private func occurrences(of word: String, in bytes: Slice<UnsafeRawBufferPointer>) -> Int {
  let word = Array(word.utf8)
  var count = 0
  var at = bytes.startIndex
  while at + word.count <= bytes.endIndex {
    if bytes[at] == word[0], bytes[at..<at + word.count].elementsEqual(word) { count += 1 }
    at += 1
  }
  return count
}

extension JSON {
  /// The integers of an array of integers.
  var integers: [Int]? {
    guard case .array(let values) = self else { return nil }
    var integers: [Int] = []
    for value in values {
      guard case .integer(let integer) = value else { return nil }
      integers.append(integer)
    }
    return integers
  }
}
