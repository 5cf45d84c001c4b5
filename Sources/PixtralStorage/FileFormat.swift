/// What a file is that should have been JSON or safetensors: for errors that say so.
package struct FileFormat: Sendable, Equatable {
  /// With its article.
  package let name: String
  /// What to do about it.
  package let advice: String

  private init(_ name: String, _ advice: String) {
    self.name = name
    self.advice = advice
  }

  /// Recognised by the first bytes; nil for JSON, plain text and whatever bears no mark.
  package init?(of bytes: UnsafeRawBufferPointer) {
    if let known = Self.marks.first(where: { bytes.starts(with: $0.mark) })?.format {
      self = known
    } else if let known = Self.markup(bytes) ?? Self.safetensors(bytes) ?? Self.wideText(bytes) {
      self = known
    } else {
      return nil
    }
  }

  private static let utf16 = FileFormat("UTF-16 text (PowerShell's > writes it)", "write UTF-8")
  private static let utf32 = FileFormat("UTF-32 text", "write UTF-8")
  private static let archive = "unpack it first"

  private static let marks: [(mark: [UInt8], format: FileFormat)] = [
    ([0xef, 0xbb, 0xbf], FileFormat("UTF-8 text with a byte-order mark", "write it without the mark")),
    // Those of UTF-32 first: one of them begins like that of UTF-16.
    ([0xff, 0xfe, 0, 0], utf32), ([0, 0, 0xfe, 0xff], utf32),
    ([0xff, 0xfe], utf16), ([0xfe, 0xff], utf16),
    (
      Array("version https://git-lfs.github.com/spec/".utf8),
      FileFormat("a Git LFS pointer", "fetch the file that it stands for: git lfs pull")
    ),
    ([0x1f, 0x8b], FileFormat("gzip data", archive)),
    ([0x28, 0xb5, 0x2f, 0xfd], FileFormat("Zstandard data", archive)),
    ([0xfd] + Array("7zXZ".utf8), FileFormat("xz data", archive)),
    (Array("BZh".utf8), FileFormat("bzip2 data", archive)),
    (
      Array("PK\u{3}\u{4}".utf8),
      FileFormat("a ZIP archive (torch.save writes one)", "save the tensors with safetensors")
    ),
    ([0x80, 0x02], FileFormat("a Python pickle", "save the tensors with safetensors")),
    ([0x93] + Array("NUMPY".utf8), FileFormat("a NumPy array", "save the tensors with safetensors")),
    (Array("GGUF".utf8), FileFormat("a GGUF file", "give the checkpoint that it was made from")),
    ([0x89] + Array("HDF".utf8), FileFormat("an HDF5 file", "save the tensors with safetensors")),
    ([0x89] + Array("PNG".utf8), FileFormat("a PNG image", "")),
    ([0xff, 0xd8, 0xff], FileFormat("a JPEG image", "")),
    (Array("%PDF-".utf8), FileFormat("a PDF document", "")),
  ]

  /// A page that a server sends in the place of a file.
  private static func markup(_ bytes: UnsafeRawBufferPointer) -> FileFormat? {
    let start = bytes.drop { $0 == 0x20 || (0x09...0x0d).contains($0) }.prefix(16)
    let text = String(decoding: start, as: UTF8.self).lowercased()
    if text.hasPrefix("<!doctype html") || text.hasPrefix("<html") {
      return FileFormat("an HTML page", "was a page with a login or an error downloaded?")
    }
    return text.hasPrefix("<?xml") ? FileFormat("an XML document", "") : nil
  }

  private static func safetensors(_ bytes: UnsafeRawBufferPointer) -> FileFormat? {
    guard bytes.count > 8, bytes[8] == UInt8(ascii: "{") else { return nil }
    let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    return length <= bytes.count - 8 ? FileFormat("a safetensors file", "") : nil
  }

  /// UTF-16 and UTF-32 without a mark show in the zeros among their first characters.
  private static func wideText(_ bytes: UnsafeRawBufferPointer) -> FileFormat? {
    switch bytes.prefix(4).map({ $0 == 0 }) {
    case [true, true, true, false], [false, true, true, true]: utf32
    case [true, false, true, false], [false, true, false, true]: utf16
    default: nil
    }
  }
}
