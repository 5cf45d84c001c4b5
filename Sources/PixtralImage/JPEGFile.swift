/// What stands in a JPEG before its first scan, as Pillow takes it; the scans are libjpeg's.
struct JPEGFile {
  private(set) var width = 0
  private(set) var height = 0
  /// 1 grey, 3 colour, 4 CMYK.
  private(set) var components = 0
  private(set) var notes = OrientationNotes()
  /// The marker of its frame: which kind of JPEG it is.
  private(set) var kind: UInt8 = 0
  /// The components of the first scan; 0 if there is no scan at all.
  private(set) var scanComponents = 0

  var isLossless: Bool { kind == 0xc3 }
  /// Whether libjpeg collects all scans before it draws a row.
  var hasManyScans: Bool { kind == 0xc2 || kind == 0xca || scanComponents < components }
  var isArithmetic: Bool { kind >= 0xc9 }

  private let bytes: UnsafeRawBufferPointer
  /// The profile's parts that no frame has followed.
  private var profiles: [[UInt8]] = []

  /// - Throws: what Pillow's `Image.open` raises.
  init(_ bytes: UnsafeRawBufferPointer) throws(ImageFault) {
    self.bytes = bytes
    do throws(ImageFault) {
      try readMarkers()
      guard components > 0, width > 0, height > 0 else { throw ImageFault(.syntax, "no size") }
    } catch {
      throw error.onOpening
    }
  }

  private mutating func readMarkers() throws(ImageFault) {
    var at = 2
    var hasScan = false
    while !hasScan, at < bytes.count {
      guard bytes[at] == 0xff else {
        at += 1  // Whatever stands between segments is passed over.
        continue
      }
      guard at + 1 < bytes.count else { return }
      let marker = bytes[at + 1]
      switch marker {
      case 0xff: at += 1  // A fill byte.
      case 0: at += 2
      case 0xc8, 0xd0...0xd9, 0xf0...0xfd: at += 2  // These have no segment.
      case 0xc0...0xfe:
        guard let length = bytes.bigEndian(at + 2, 2) else {
          throw ImageFault(.syntax, "the file ends in the length of a segment")
        }
        let end = at + 4 + max(0, length - 2)
        guard end <= bytes.count else { throw ImageFault(.os, "the file ends in a segment") }
        try take(marker, UnsafeRawBufferPointer(rebasing: bytes[at + 4..<end]))
        hasScan = marker == 0xda
        at = end
      default: throw ImageFault(.syntax, "an unknown marker")
      }
    }
  }

  private mutating func take(_ marker: UInt8, _ content: UnsafeRawBufferPointer) throws(ImageFault) {
    func begins(_ words: String) -> Bool { content.starts(with: words.utf8) }
    switch marker {
    case 0xc4, 0xcc: break  // Tables that are libjpeg's affair.
    case 0xc0...0xcf, 0xde: try takeFrame(marker, content)
    case 0xda: scanComponents = Int(content.first ?? 1)
    case 0xdb: try checkTables(content)
    case 0xe0 where begins("JFIF"):
      guard content.count >= 7 else { throw ImageFault(.syntax, "a JFIF segment that is too short") }
    case 0xe1 where begins("Exif\0\0"):
      // A block may be cut into several segments.
      if case .bytes(let before)? = notes["exif"] {
        notes["exif"] = .bytes(before + content.dropFirst(6))
      } else {
        notes["exif"] = .bytes(Array(content))
      }
    case 0xe1 where begins("http://ns.adobe.com/xap/1.0/\0"):
      notes["xmp"] = .bytes(Array(content.dropFirst(29)))
    case 0xe2 where begins("ICC_PROFILE\0"): profiles.append(Array(content))
    case 0xed where begins("Photoshop 3.0\0"): try checkResources(content)
    case 0xee where begins("Adobe"):
      guard content.count >= 7 else { throw ImageFault(.syntax, "an Adobe segment that is too short") }
    default: break
    }
  }

  /// The size, and how many components.
  private mutating func takeFrame(_ marker: UInt8, _ content: UnsafeRawBufferPointer) throws(ImageFault) {
    guard content.count >= 6 else { throw ImageFault(.syntax, "a frame that is too short") }
    (height, width) = (content.bigEndian(1, 2) ?? 0, content.bigEndian(3, 2) ?? 0)
    guard content[0] == 8 else { throw ImageFault(.syntax, "samples of \(content[0]) bits") }
    guard [1, 3, 4].contains(content[5]) else { throw ImageFault(.syntax, "\(content[5]) components") }
    components = Int(content[5])
    kind = marker
    if let first = profiles.min(by: { $0.lexicographicallyPrecedes($1) }), first.count < 14 {
      throw ImageFault(.index, "a colour profile that is too short")
    }
    profiles = []
    guard content.count % 3 == 0 else { throw ImageFault(.index, "a frame that is too short") }
  }

  private func checkTables(_ content: UnsafeRawBufferPointer) throws(ImageFault) {
    var at = 0
    while at < content.count {
      at += content[at] < 16 ? 65 : 129
      guard at <= content.count else { throw ImageFault(.syntax, "a quantization table that is too short") }
    }
  }

  /// Photoshop's resources: a signature, a number, a name, a length, data. Pillow overlooks an end
  /// that comes too early, but before the name.
  private func checkResources(_ content: UnsafeRawBufferPointer) throws(ImageFault) {
    var at = 14
    while content.dropFirst(at).starts(with: "8BIM".utf8), at + 6 <= content.count {
      guard at + 6 < content.count else { throw ImageFault(.index, "a Photoshop resource without a name") }
      at += 7 + Int(content[at + 6])
      at += at % 2
      guard let length = content.bigEndian(at, 4) else { return }
      at += 4 + length
      at += at % 2
    }
  }
}
