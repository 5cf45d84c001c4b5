/// A JPEG of many scans without their data, and with a frame of one block.
///
/// Such a file is in order or not for what its segments say: libjpeg refuses no data, it only notes
/// what is damaged. So whoever wants to know that a file is whole, and not its samples, decodes this,
/// without the memory that libjpeg takes to collect the scans of a large image.
struct JPEGOutline {
  private(set) var bytes: [UInt8] = [0xff, 0xd8]

  /// - Returns: nil for a file with restart markers: where those are damaged, libjpeg looks for the
  ///   next one and may pass over others.
  init?(_ file: UnsafeRawBufferPointer) {
    var at = 2
    while let marker = Self.marker(in: file, from: &at) {
      switch marker {
      case 0xd9:
        bytes += [0xff, marker]
        return
      // Left over between data, where they say nothing.
      case 0xd0...0xd7, 0x01: continue
      case 0xd8: bytes += [0xff, marker]
      default:
        let end = at + max(2, file.bigEndian(at, 2) ?? 2)
        guard marker != 0xdd || file.bigEndian(at + 2, 2) == 0 else { return nil }
        bytes += [0xff, marker]
        let start = bytes.count
        bytes += file[min(at, file.count)..<min(end, file.count)]
        let isFrame = (0xc0...0xcf).contains(marker) && ![0xc4, 0xc8, 0xcc].contains(marker)
        if isFrame && bytes.count >= start + 7 {
          bytes.replaceSubrange(start + 3..<start + 7, with: [0, 8, 0, 8])
        }
        at = end
      }
    }
  }

  /// The next marker, behind whatever data stands before it, and fill bytes.
  private static func marker(in file: UnsafeRawBufferPointer, from at: inout Int) -> UInt8? {
    while at + 1 < file.count {
      at += 1
      if file[at - 1] == 0xff && file[at] != 0xff && file[at] != 0 {
        at += 1
        return file[at - 1]
      }
    }
    return nil
  }
}
