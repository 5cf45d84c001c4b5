/// The orientation that EXIF notes: read to warn about, never applied.
enum Orientation {
  /// In a JPEG: in its first segment APP1 of EXIF, before the first scan.
  static func inJPEG(_ bytes: UnsafeRawBufferPointer) -> Int? {
    var at = 2
    while at + 4 <= bytes.count, bytes[at] == 0xff, bytes[at + 1] != 0xda {
      let end = at + 2 + (Int(bytes[at + 2]) << 8 | Int(bytes[at + 3]))
      guard end <= bytes.count else { return nil }
      let content = bytes[min(at + 4, end)..<end]
      if bytes[at + 1] == 0xe1, content.starts(with: Array("Exif\0\0".utf8)) {
        return inTIFF(UnsafeRawBufferPointer(rebasing: content.dropFirst(6)))
      }
      at = end
    }
    return nil
  }

  /// In a PNG: in its chunk eXIf.
  static func inPNG(_ bytes: UnsafeRawBufferPointer) -> Int? {
    var at = 8
    while at + 8 <= bytes.count {
      let length = (0..<4).reduce(0) { $0 << 8 | Int(bytes[at + $1]) }
      guard length <= bytes.count - at - 8 else { return nil }
      if bytes[at + 4..<at + 8].elementsEqual("eXIf".utf8) {
        return inTIFF(UnsafeRawBufferPointer(rebasing: bytes[at + 8..<at + 8 + length]))
      }
      at += length + 12
    }
    return nil
  }

  /// Tag 0x0112 of the first directory.
  private static func inTIFF(_ bytes: UnsafeRawBufferPointer) -> Int? {
    let isLittle = bytes.starts(with: Array("II".utf8))
    guard isLittle || bytes.starts(with: Array("MM".utf8)) else { return nil }
    func integer(_ at: Int, _ count: Int) -> Int? {
      guard at >= 0, at + count <= bytes.count else { return nil }
      return (0..<count).reduce(0) { $0 << 8 | Int(bytes[at + (isLittle ? count - 1 - $1 : $1)]) }
    }
    guard let directory = integer(4, 4), let entries = integer(directory, 2) else { return nil }
    for entry in 0..<entries {
      let at = directory + 2 + entry * 12
      guard let tag = integer(at, 2) else { return nil }
      if tag == 0x0112 { return integer(at + 8, 2) }
    }
    return nil
  }
}
