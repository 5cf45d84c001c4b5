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
  }

  private let file: NewFile
  private let byteCount: Int
  private var written = 0

  /// - metadata: the header's `__metadata__`.
  /// - newFile: begins the file, which will have this many bytes.
  /// - Throws: `InputError` of kind `unwritable`.
  package init(
    _ entries: [Entry], metadata: [(String, String)] = [], newFile: (_ bytes: Int) throws -> NewFile
  ) throws {
    var members: [JSON.Member] = []
    if !metadata.isEmpty {
      members.append(
        JSON.Member(
          key: "__metadata__", value: .object(metadata.map { JSON.Member(key: $0.0, value: .string($0.1)) })))
    }
    var offset = 0
    for entry in entries {
      guard let size = PixtralStorage.byteCount(entry.shape, UInt(entry.dtype.size) * 8), size < 1 << 60,
        offset < 1 << 60
      else {
        throw InputError(
          .unwritable, entry.name, expected: "a shape that fits on a disk", found: "\(entry.shape)")
      }
      members.append(
        JSON.Member(
          key: entry.name,
          value: [
            "dtype": .string(entry.dtype.rawValue), "shape": .array(entry.shape.map(JSON.integer)),
            "data_offsets": .array([.integer(offset), .integer(offset + size)]),
          ]))
      offset += size
    }
    byteCount = offset
    // Padded with spaces, so that the tensors begin at a multiple of 8.
    var header = Array(JSON.object(members).text().utf8)
    header += [UInt8](repeating: UInt8(ascii: " "), count: (8 - header.count % 8) % 8)
    file = try newFile(8 + header.count + byteCount)
    try withUnsafeBytes(of: UInt64(header.count).littleEndian) { try file.write($0) }
    try file.write(header)
  }

  /// The next bytes of the tensors, in the order of the entries.
  package func write(_ bytes: UnsafeRawBufferPointer) throws {
    written += bytes.count
    precondition(written <= byteCount, "more bytes than the entries have")
    try file.write(bytes)
  }

  /// The file is whole: every byte must have been written. It has no name yet.
  package func complete() throws {
    precondition(written == byteCount, "\(written) of \(byteCount) bytes written")
    try file.complete()
  }

  /// Gives the file its name.
  package func finish() throws {
    try complete()
    try file.finish()
  }
}
