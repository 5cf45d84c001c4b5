/// Writes a safetensors file whose tensors are known by name and shape beforehand and come one
/// after another.
package final class SafetensorsWriter {
  package struct Entry: Sendable {
    package let name: String
    package let dtype: DType
    package let shape: [Int]

    package init(name: String, dtype: DType, shape: [Int]) {
      self.name = name
      self.dtype = dtype
      self.shape = shape
    }

    var byteCount: Int { shape.reduce(dtype.size, *) }
  }

  private let file: NewFile
  /// Where the whole file goes, behind any link.
  package var path: String { file.path }
  private let byteCount: Int
  private var written = 0

  /// - metadata: the header's `__metadata__`.
  /// - Throws: `InputError` of kind `unwritable`.
  package init(_ path: String, _ entries: [Entry], metadata: [(String, String)] = []) throws {
    file = try NewFile(path)
    var members: [JSON.Member] = []
    if !metadata.isEmpty {
      members.append(
        JSON.Member(
          key: "__metadata__", value: .object(metadata.map { JSON.Member(key: $0.0, value: .string($0.1)) })))
    }
    var offset = 0
    for entry in entries {
      members.append(
        JSON.Member(
          key: entry.name,
          value: [
            "dtype": .string(entry.dtype.rawValue), "shape": .array(entry.shape.map(JSON.integer)),
            "data_offsets": .array([.integer(offset), .integer(offset + entry.byteCount)]),
          ]))
      offset += entry.byteCount
    }
    byteCount = offset
    // Padded with spaces, so that the tensors begin at a multiple of 8.
    var header = Array(JSON.object(members).text().utf8)
    header += [UInt8](repeating: UInt8(ascii: " "), count: (8 - header.count % 8) % 8)
    do {
      try withUnsafeBytes(of: UInt64(header.count).littleEndian) { try file.write($0) }
      try header.withUnsafeBytes { try file.write($0) }
    } catch {
      file.abandon()
      throw error
    }
  }

  /// The next bytes of the tensors, in the order of the entries.
  package func write(_ bytes: UnsafeRawBufferPointer) throws {
    written += bytes.count
    precondition(written <= byteCount, "more bytes than the entries have")
    try file.write(bytes)
  }

  /// Gives the file its name. Every byte must have been written.
  package func finish() throws {
    precondition(written == byteCount, "\(written) of \(byteCount) bytes written")
    try file.finish()
  }

  /// Leaves nothing behind.
  package func abandon() { file.abandon() }
}
