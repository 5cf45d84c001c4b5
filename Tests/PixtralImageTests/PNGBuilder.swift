import CZlib

/// A PNG of a signature and chunks.
///
/// - length: written in the place of each chunk's own.
func png(_ chunks: (String, [UInt8])...) -> [UInt8] {
  chunks.reduce([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]) { file, chunk in
    let body = Array(chunk.0.utf8) + chunk.1
    return file + bigEndian(chunk.1.count) + body + bigEndian(Int(crc32_z(0, body, body.count)))
  }
}

/// The chunk IHDR.
func header(_ width: Int, _ height: Int, colour: UInt8, depth: UInt8 = 8) -> (String, [UInt8]) {
  ("IHDR", bigEndian(width) + bigEndian(height) + [depth, colour, 0, 0, 0])
}

/// So many null bytes, as a PNG stores samples.
func zeros(_ count: Int) -> [UInt8] { compressed([UInt8](repeating: 0, count: count)) }

/// Bytes as a PNG stores samples and texts.
func compressed(_ bytes: [UInt8]) -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: Int(compressBound(UInt(bytes.count)))) { output, count in
    var room = UInt(output.count)
    precondition(compress2(output.baseAddress, &room, bytes, UInt(bytes.count), 6) == Z_OK, "zlib compresses")
    count = Int(room)
  }
}

private func bigEndian(_ value: Int) -> [UInt8] { withUnsafeBytes(of: UInt32(value).bigEndian, Array.init) }
