/// A safetensors file, mapped and checked: an 8-byte little-endian header length, a JSON header,
/// the tensors' bytes.
package struct Safetensors: Sendable {
  package struct Tensor: Sendable {
    package let name: String
    package let dtype: DType
    package let shape: [Int]
    /// Bytes in the file.
    package let range: Range<Int>
  }

  package let file: MappedFile
  /// In the order of their bytes.
  package let tensors: [Tensor]

  /// Opens a file and checks its whole structure: the tensors' bytes lie inside it, side by side,
  /// without overlap or hole.
  ///
  /// - Throws: `InputError`, naming the tensor at fault.
  package init(_ path: String) throws {
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
        path, expected: "a header of at most \(file.bytes.count - 8) bytes",
        found: "a header length of \(length)",
        advice: "the file is cut off or is no safetensors file")
    }
    guard length <= 100_000_000 else {
      throw refuse(path, expected: "a header of at most 100,000,000 bytes", found: "\(length)")
    }
    let start = 8 + Int(length)
    let header = try JSON(
      parsing: UnsafeRawBufferPointer(rebasing: file.bytes[8..<start]), place: "\(path) (header)")
    guard case .object(let entries) = header else {
      throw refuse(path, expected: "a header that is a JSON object", found: "another JSON value")
    }

    var tensors: [Tensor] = []
    for entry in entries where entry.key != "__metadata__" {
      let place = "\(path), tensor \(entry.key)"
      guard case .string(let type)? = entry.value["dtype"], let shape = entry.value["shape"]?.integers,
        let offsets = entry.value["data_offsets"]?.integers, offsets.count == 2
      else { throw refuse(place, expected: "dtype, shape and two data_offsets", found: entry.value.text()) }
      guard let dtype = DType(rawValue: type) else {
        let known = DType.allCases.map(\.rawValue).joined(separator: ", ")
        throw refuse(
          place, expected: "a dtype of \(known)", found: type, advice: "convert the checkpoint first")
      }
      guard let size = byteCount(shape, dtype) else {
        throw refuse(place, expected: "a shape of sizes that fit in memory", found: "\(shape)")
      }
      let available = file.bytes.count - start
      guard offsets[0] >= 0, offsets[0] <= offsets[1], offsets[1] <= available else {
        throw refuse(
          place, expected: "bytes within the \(available) that follow the header",
          found: "bytes \(offsets[0]) to \(offsets[1])",
          advice: "the file is cut off or damaged")
      }
      guard offsets[1] - offsets[0] == size else {
        throw refuse(
          place, expected: "\(size) bytes for \(type) \(shape)", found: "\(offsets[1] - offsets[0])")
      }
      tensors.append(
        Tensor(name: entry.key, dtype: dtype, shape: shape, range: start + offsets[0]..<start + offsets[1]))
    }

    tensors.sort { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }
    var end = start
    for tensor in tensors {
      guard tensor.range.lowerBound == end else {
        throw refuse(
          "\(path), tensor \(tensor.name)", expected: "to begin at byte \(end - start) of the data",
          found: "byte \(tensor.range.lowerBound - start)",
          advice: tensor.range.lowerBound < end
            ? "two tensors overlap" : "bytes between tensors belong to none")
      }
      end = tensor.range.upperBound
    }
    guard end == file.bytes.count else {
      throw refuse(path, expected: "a file of \(end) bytes", found: "\(file.bytes.count) bytes")
    }
    self.file = file
    self.tensors = tensors
    if let json = header["__metadata__"], json != .null {
      guard case .object(let members) = json,
        members.allSatisfy({ if case .string = $0.value { true } else { false } })
      else {
        throw refuse("\(path), __metadata__", expected: "an object of strings, or null", found: json.text())
      }
    }
  }
}

/// Bytes of a tensor; nil if a size is negative or the product does not fit.
private func byteCount(_ shape: [Int], _ dtype: DType) -> Int? {
  var count = dtype.size
  for size in shape {
    let (product, overflow) = count.multipliedReportingOverflow(by: size)
    if size < 0 || overflow { return nil }
    count = product
  }
  return count
}
