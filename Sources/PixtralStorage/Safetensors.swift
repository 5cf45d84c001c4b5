/// A safetensors file, mapped and checked: an 8-byte little-endian header length, a JSON header,
/// the tensors' bytes.
package struct Safetensors: Sendable {
  package struct Tensor: Sendable {
    package let name: String
    /// The dtype as the file names it: one of safetensors' own, which are more than `DType` has.
    package let typeName: String
    package let shape: [Int]
    /// Bytes in the file.
    package let range: Range<Int>

    /// nil for values that nothing here computes with: integers, booleans, floats of 8 bits and fewer.
    package var dtype: DType? { DType(rawValue: typeName) }
  }

  package let file: MappedFile
  /// In the order of their bytes.
  package let tensors: [Tensor]
  /// The text of the header.
  private let header: Range<Int>

  /// Opens a file and checks its whole structure: the tensors' bytes lie inside it, side by side,
  /// without overlap or hole.
  ///
  /// What safetensors 0.8 reads is read, whatever the dtypes, with these exceptions: a key that comes
  /// twice in an object, a tensor that is written as an array, a dtype that is written as an object, a size
  /// of more than 63 bits, a tensor of more than 64 dimensions, and two names that are one to Unicode
  /// are refused.
  ///
  /// - Throws: `InputError`, naming the tensor at fault.
  package init(_ path: String) throws { try self.init(MappedFile(path)) }

  /// The same of a file that is open.
  ///
  /// - headerUpTo: bytes; names and shapes may take ten times the memory of their text.
  package init(_ file: MappedFile, headerUpTo limit: Int = 100_000_000) throws {
    let path = file.path
    self.file = file
    (header, tensors) = try file.withBytes { bytes in
      let header = try headerRange(bytes, path, limit)
      let data = header.upperBound..<bytes.count
      var reader = try SafetensorsHeader(UnsafeRawBufferPointer(rebasing: bytes[header]), path, data: data)
      return (header, try sideBySide(try reader.tensors(), data, path))
    }
  }

  /// The header's `__metadata__`. It is read anew each time, for hardly anyone asks for it.
  package var metadata: [String: String] {
    let metadata = try? file.withBytes { bytes in
      var reader = try SafetensorsHeader(
        UnsafeRawBufferPointer(rebasing: bytes[header]), file.path, data: header.upperBound..<bytes.count)
      return try reader.metadata()
    }
    return metadata ?? [:]
  }
}

/// Where the header lies in the file.
private func headerRange(_ bytes: UnsafeRawBufferPointer, _ path: String, _ limit: Int) throws -> Range<Int> {
  func refuse(_ expected: String, _ found: String, _ advice: String = "") -> InputError {
    let format = FileFormat(of: bytes)
    return InputError(
      .malformedSafetensors, path, expected: format == nil ? expected : "a safetensors file",
      found: format?.name ?? found, advice: format?.advice ?? advice)
  }
  guard bytes.count >= 8 else { throw refuse("8 bytes of header length", "\(bytes.count) bytes") }
  let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
  guard length <= bytes.count - 8 else {
    throw refuse(
      "a header of at most \(bytes.count - 8) bytes", "a header length of \(length)",
      "the file is cut off or is no safetensors file")
  }
  // It is a safetensors file; it is too much of one.
  guard length <= limit else {
    throw InputError(
      .malformedSafetensors, path, expected: "a header of at most \(limit) bytes", found: "\(length)")
  }
  return 8..<8 + Int(length)
}

/// The tensors in the order of their bytes, which must fill the data without overlap or hole.
private func sideBySide(
  _ tensors: [Safetensors.Tensor], _ data: Range<Int>, _ path: String
) throws -> [Safetensors.Tensor] {
  let sorted = tensors.sorted {
    ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
  }
  var end = data.lowerBound
  for tensor in sorted {
    guard tensor.range.lowerBound == end else {
      throw InputError(
        .malformedSafetensors, "\(path), tensor \(tensor.name)",
        expected: "to begin at byte \(end - data.lowerBound) of the data",
        found: "byte \(tensor.range.lowerBound - data.lowerBound)",
        advice: tensor.range.lowerBound < end
          ? "two tensors overlap" : "bytes between tensors belong to none")
    }
    end = tensor.range.upperBound
  }
  guard end == data.upperBound else {
    throw InputError(
      .malformedSafetensors, path, expected: "a file of \(end) bytes", found: "\(data.upperBound) bytes")
  }
  return sorted
}
