import CZlib

/// A chunk of a PNG: its name, and where its content is.
struct PNGChunk {
  let name: String
  /// Where the content begins, and how long it says that it is.
  let start: Int
  let length: Int
  private let bytes: UnsafeRawBufferPointer

  /// The chunk whose length and name stand at a place; nil where a file ends, or where no name is.
  init?(_ bytes: UnsafeRawBufferPointer, at place: Int) {
    guard let length = bytes.bigEndian(place, 4), place + 8 <= bytes.count else { return nil }
    let name = bytes[place + 4..<place + 8]
    guard name.allSatisfy({ isLetter($0) || isDigit($0) || $0 == UInt8(ascii: "_") }) else { return nil }
    self.name = String(decoding: name, as: UTF8.self)
    self.length = length
    self.bytes = bytes
    start = place + 8
  }

  /// Where the next one begins.
  var next: Int { start + length + 4 }
  var isCut: Bool { start + length > bytes.count }

  /// The content, or what there is of it.
  var available: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: bytes[min(start, bytes.count)..<min(start + length, bytes.count)])
  }

  /// The content.
  ///
  /// - least: the bytes that it must have.
  func content(least: Int = 0) throws(ImageFault) -> UnsafeRawBufferPointer {
    guard !isCut else { throw ImageFault(.os, "the file ends in a chunk \(name)") }
    guard length >= least else {
      throw ImageFault(.value, "a chunk \(name) of \(length) bytes, where \(least) are the least")
    }
    return available
  }

  /// Checks the checksum, which is that of the name and the content.
  func verify() throws(ImageFault) {
    guard let found = bytes.bigEndian(start + length, 4),
      found == Int(crc32_z(0, bytes.baseAddress?.advanced(by: start - 4), length + 4))
    else {
      throw ImageFault(.syntax, "a wrong checksum in a chunk \(name)")
    }
  }
}

extension UnsafeRawBufferPointer {
  /// An integer of some bytes, the highest first; nil where they are not there.
  func bigEndian(_ at: Int, _ size: Int) -> Int? {
    guard at + size <= count else { return nil }
    return (at..<at + size).reduce(0) { $0 << 8 | Int(self[$1]) }
  }
}

private func isLetter(_ byte: UInt8) -> Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) }
private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
