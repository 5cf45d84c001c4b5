/// What stands in a PNG around its samples, as Pillow takes it: chunks before the samples are
/// checked, those behind are read as far as they go, of two the last counts, and a name that nobody
/// knows is passed over.
struct PNGFile {
  private(set) var width = 0
  private(set) var height = 0
  private(set) var layout = PNGLayout()
  /// PLTE of an image with a palette.
  private(set) var palette: UnsafeRawBufferPointer?
  /// tRNS, be it before or behind the samples.
  private(set) var transparency = Transparency.none
  private(set) var notes = OrientationNotes()
  /// Where the picture lies in the image; all of it unless a chunk fcTL says otherwise.
  private(set) var frame: Frame?

  /// The chunks of the samples.
  private(set) var samples: [PNGChunk] = []
  /// Why the samples cannot go on behind their last chunk.
  private(set) var end = ImageFault(.os, "the file ends too early")

  enum Transparency: Equatable {
    case none
    /// A grey, or the number of a colour.
    case one(Int)
    /// An alpha for each colour.
    case all([UInt8])
  }

  struct Frame: Equatable {
    let x: Int
    let y: Int
    let width: Int
    let height: Int
  }

  private let bytes: UnsafeRawBufferPointer
  /// Depth and colour type of the last header that has such as there are.
  private var kind: (depth: Int, colour: Int)?
  /// Of an animated PNG: its pictures, and the number of the last.
  private var frameCount: Int?
  private var sequence: Int?
  /// Whether the first picture ends where the next begins.
  private var isAnimated = false
  /// All texts together, inflated.
  private var textCount = 0

  /// Reads all before the samples.
  ///
  /// - Throws: what Pillow's `Image.open` raises.
  init(_ bytes: UnsafeRawBufferPointer) throws(ImageFault) {
    self.bytes = bytes
    do throws(ImageFault) {
      var at = 8
      while true {
        guard let chunk = PNGChunk(bytes, at: at) else {
          throw ImageFault(.syntax, "the file ends too early, or a chunk has no name")
        }
        if chunk.name == "IEND" { break }
        if try take(chunk) {
          samples = [chunk]
          break
        }
        try chunk.verify()
        at = chunk.next
      }
      guard let kind, width > 0, height > 0 else {
        throw ImageFault(.syntax, "no size, or samples of a kind that PNG does not have")
      }
      (layout.depth, layout.colour) = kind
    } catch {
      throw error.onOpening
    }
    if let frameCount { isAnimated = frameCount + (frame == nil ? 1 : 0) > 1 }
  }

  /// Reads all behind the first chunk of the samples.
  ///
  /// - Throws: what Pillow raises, unless the samples fail before.
  mutating func readOn() throws(ImageFault) {
    var at = samples[0].next
    // Chunks of samples follow one another.
    while true {
      guard let chunk = PNGChunk(bytes, at: at) else {
        if at + 4 <= bytes.count { end = ImageFault(.syntax, "a chunk without a name among the samples") }
        return
      }
      guard ["IDAT", "DDAT", "fdAT"].contains(chunk.name) else { break }
      do { _ = try take(chunk) } catch {
        end = error
        throw error
      }
      samples.append(chunk)
      at = chunk.next
    }
    while let chunk = PNGChunk(bytes, at: at), chunk.name != "IEND", !(chunk.name == "fcTL" && isAnimated) {
      if try take(chunk) { _ = try chunk.content() }
      at = chunk.next
    }
  }

  /// The stream of the samples, chunk by chunk.
  var stream: [UnsafeRawBufferPointer] {
    // A number stands before the samples of an animation.
    samples.map {
      $0.name == "fdAT" ? UnsafeRawBufferPointer(rebasing: $0.available.dropFirst(4)) : $0.available
    }
  }

  /// Takes what a chunk says.
  ///
  /// - Returns: whether it holds samples.
  private mutating func take(_ chunk: PNGChunk) throws(ImageFault) -> Bool {
    switch chunk.name {
    case "IDAT", "DDAT", "fdAT":
      if chunk.name == "fdAT" {
        guard chunk.length >= 4 else { throw ImageFault(.value, "a chunk fdAT without a number") }
        guard let number = bytes.bigEndian(chunk.start, 4) else {
          throw ImageFault(.os, "the file ends in a chunk fdAT")
        }
        try count(number, after: sequence)
      }
      // Samples of no kind are passed over; DDAT only goes on with what IDAT began.
      if kind != nil && !(chunk.name == "DDAT" && samples.isEmpty) { return true }
      _ = try chunk.content()
    case "IHDR": try takeHeader(chunk.content(least: 13))
    case "PLTE":
      let content = try chunk.content()
      if kind?.colour == 3 && samples.isEmpty { palette = content }
    case "tRNS": try takeTransparency(chunk)
    case "acTL":
      let count = try chunk.content(least: 8).bigEndian(0, 4) ?? 0
      frameCount = frameCount == nil && (1...0x8000_0000).contains(count) ? count : nil
    case "fcTL": try takeFrame(chunk.content(least: 26))
    case "gAMA": _ = try chunk.content(least: 4)
    case "cHRM": _ = try chunk.content(least: 32)
    case "sRGB": _ = try chunk.content(least: 1)
    case "pHYs": _ = try chunk.content(least: 9)
    case "iCCP": try checkProfile(chunk.content())
    case "eXIf": notes["exif"] = .bytes(Array("Exif\0\0".utf8) + (try chunk.content()))
    case "tEXt":
      let (keyword, text) = try chunk.content()[...].cutAtNull()
      let bytes = text.map(Array.init) ?? []
      if !keyword.isEmpty {
        try add(keyword, keyword.elementsEqual("exif".utf8) ? .bytes(bytes) : .text(bytes), bytes.count)
      }
    case "zTXt":
      let (keyword, text) = try chunk.content()[...].cutAtNull()
      let bytes =
        if let text { try inflated(text.first ?? 0, text.dropFirst(), "zTXt") ?? [] } else { [UInt8]() }
      if !keyword.isEmpty { try add(keyword, .text(bytes), bytes.count) }
    case "iTXt": try takeInternationalText(chunk.content())
    default: _ = try chunk.content()
    }
    return false
  }

  private mutating func takeHeader(_ content: UnsafeRawBufferPointer) throws(ImageFault) {
    let (depth, colour) = (Int(content[8]), Int(content[9]))
    if PNGLayout.has(depth: depth, colour: colour) { kind = (depth, colour) }
    if samples.isEmpty {
      (width, height) = (content.bigEndian(0, 4) ?? 0, content.bigEndian(4, 4) ?? 0)
      // Byte 10, how the samples are compressed, is not looked at.
      if content[12] != 0 { layout.isInterlaced = true }
    }
    guard content[11] == 0 else { throw ImageFault(.syntax, "an unknown filter method, \(content[11])") }
  }

  private mutating func takeTransparency(_ chunk: PNGChunk) throws(ImageFault) {
    // mistral-common leaves RGB as it is, but a tRNS of it must be long enough.
    let content = try chunk.content(least: kind?.colour == 0 ? 2 : kind?.colour == 2 ? 6 : 0)
    if kind?.colour == 0 {
      transparency = .one(content.bigEndian(0, 2) ?? 0)
    } else if kind?.colour == 3 {
      // One transparent colour, all others opaque, is that colour's number; a line feed at the end
      // is overlooked.
      let alphas = content.last == 10 ? content.dropLast() : content[...]
      let isOne = alphas.count { $0 == 0 } == 1 && alphas.allSatisfy { $0 == 0 || $0 == 255 }
      transparency = isOne ? .one(alphas.firstIndex(of: 0) ?? 0) : .all(Array(content))
    }
  }

  private mutating func takeFrame(_ content: UnsafeRawBufferPointer) throws(ImageFault) {
    try count(content.bigEndian(0, 4) ?? 0, after: sequence ?? -1)
    let sides = (0..<4).map { content.bigEndian(4 + 4 * $0, 4) ?? 0 }
    let found = Frame(x: sides[2], y: sides[3], width: sides[0], height: sides[1])
    guard found.x + found.width <= width, found.y + found.height <= height else {
      throw ImageFault(.syntax, "a picture of an animation that is not inside the image")
    }
    if samples.isEmpty { frame = found }
  }

  /// Chunks of an animation are numbered.
  private mutating func count(_ number: Int, after last: Int?) throws(ImageFault) {
    guard let last, number == last + 1 else {
      throw ImageFault(.syntax, "chunks of an animation that are out of order")
    }
    sequence = number
  }

  private func checkProfile(_ content: UnsafeRawBufferPointer) throws(ImageFault) {
    let method = (content.firstIndex(of: 0) ?? -1) + 1
    guard method < content.count else { throw ImageFault(.index, "an iCCP that ends too early") }
    _ = try inflated(content[method], content.dropFirst(method + 1), "iCCP")
  }

  /// A keyword, how the text is compressed, a language, the keyword in it, the text. What is no such
  /// text is passed over.
  private mutating func takeInternationalText(_ content: UnsafeRawBufferPointer) throws(ImageFault) {
    let (keyword, rest) = content[...].cutAtNull()
    guard let rest, rest.count >= 2 else { return }
    let (isCompressed, method) = (rest[rest.startIndex] != 0, rest[rest.startIndex + 1])
    let (language, words) = rest.dropFirst(2).cutAtNull()
    guard let words, case (let translated, let coded) = words.cutAtNull(), let coded else { return }
    if isCompressed && method != 0 { return }
    guard let bytes = isCompressed ? try inflated(0, coded, "iTXt") : Array(coded) else { return }
    if keyword.elementsEqual("XML:com.adobe.xmp".utf8) { notes["xmp"] = .bytes(bytes) }
    guard let text = String(validating: bytes, as: UTF8.self),
      String(validating: language, as: UTF8.self) != nil, String(validating: translated, as: UTF8.self) != nil
    else { return }
    try add(keyword, .text(bytes), text.unicodeScalars.count)
  }

  /// - count: of its characters.
  private mutating func add(
    _ keyword: Slice<UnsafeRawBufferPointer>, _ note: OrientationNotes.Note, _ count: Int
  ) throws(ImageFault) {
    notes[String(decoding: keyword, as: UTF8.self)] = note
    textCount += count
    guard textCount <= Self.longestTexts else { throw ImageFault(.value, "texts of more than 64 MiB") }
  }

  /// - Returns: nil if it is damaged, which Pillow overlooks.
  private func inflated(
    _ method: UInt8, _ bytes: Slice<UnsafeRawBufferPointer>, _ name: String
  ) throws(ImageFault) -> [UInt8]? {
    guard method == 0 else {
      throw ImageFault(.syntax, "an unknown compression method, \(method), in a chunk \(name)")
    }
    switch Inflater.text(UnsafeRawBufferPointer(rebasing: bytes), limit: Self.longestText) {
    case .whole(let text): return text
    case .damaged: return nil
    case .long: throw ImageFault(.value, "a chunk \(name) of more than a mebibyte inflated")
    }
  }

  /// Pillow's limits on a text, and on all of them, inflated.
  private static let longestText = 1 << 20
  private static let longestTexts = 64 << 20
}

extension Slice<UnsafeRawBufferPointer> {
  /// What stands before the first null byte, and what stands behind it; nil if there is none.
  fileprivate func cutAtNull() -> (Slice, Slice?) {
    guard let null = firstIndex(of: 0) else { return (self, nil) }
    return (self[..<null], self[(null + 1)...])
  }
}
