/// How the samples of a PNG are stored.
struct PNGLayout: Equatable {
  /// Of a sample: 1, 2, 4, 8 or 16.
  var depth = 0
  /// 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA.
  var colour = 0
  var isInterlaced = false

  /// Samples of a pixel.
  var channels: Int { [1, 0, 3, 1, 2, 0, 4][colour] }

  /// The combinations that the format has.
  static func has(depth: Int, colour: Int) -> Bool {
    switch colour {
    case 0: [1, 2, 4, 8, 16].contains(depth)
    case 3: [1, 2, 4, 8].contains(depth)
    case 2, 4, 6: [8, 16].contains(depth)
    default: false
    }
  }

  /// Bytes of a row of pixels.
  func rowBytes(_ width: Int) -> Int { (width * channels * depth + 7) / 8 }

  /// Adam7's seven passes, or the only one: where the first pixel is, and how far apart they are.
  var passes: [PNGPass] {
    guard isInterlaced else { return [PNGPass(x: 0, y: 0, dx: 1, dy: 1)] }
    return [
      PNGPass(x: 0, y: 0, dx: 8, dy: 8), PNGPass(x: 4, y: 0, dx: 8, dy: 8), PNGPass(x: 0, y: 4, dx: 4, dy: 8),
      PNGPass(x: 2, y: 0, dx: 4, dy: 4), PNGPass(x: 0, y: 2, dx: 2, dy: 4), PNGPass(x: 1, y: 0, dx: 2, dy: 2),
      PNGPass(x: 0, y: 1, dx: 1, dy: 2),
    ]
  }
}

/// A pass of an interlaced PNG.
struct PNGPass {
  let x: Int
  let y: Int
  let dx: Int
  let dy: Int
}

/// The samples of a PNG, inflated and with the filters undone, row by row.
struct PNGRows {
  /// How far the samples go.
  enum End: Equatable {
    case whole
    /// The chunks end before the samples do.
    case outOfData
    /// The stream ends with a row, and rows are missing.
    case endOfStream
    case damaged(String)
  }

  private let inflater = Inflater()
  private var chunks: ArraySlice<UnsafeRawBufferPointer>
  private var input = UnsafeRawBufferPointer(start: nil, count: 0)
  private var hasEnded = false

  /// - chunks: what the stream is cut into.
  init(_ chunks: [UnsafeRawBufferPointer]) { self.chunks = chunks[...] }

  /// Chunks that were not needed.
  var unread: Int { chunks.count }

  /// Reads all rows of an image.
  ///
  /// - take: gets each row, as stored; with its pass, its number in the pass, and its width in
  ///   pixels. Without it the rows are only counted.
  mutating func read(
    width: Int, height: Int, _ layout: PNGLayout,
    _ take: ((UnsafePointer<UInt8>, PNGPass, _ row: Int, _ width: Int) -> Void)?
  ) -> End {
    // A byte for the filter, then the samples.
    let size = 1 + layout.rowBytes(width)
    let row = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 1)
    let above = UnsafeMutableRawBufferPointer.allocate(byteCount: take == nil ? 0 : size, alignment: 1)
    defer {
      row.deallocate()
      above.deallocate()
    }
    let step = max(1, layout.channels * layout.depth / 8)
    for pass in layout.passes where pass.x < width && pass.y < height {
      let columns = (width - pass.x + pass.dx - 1) / pass.dx
      let count = layout.rowBytes(columns)
      above.initializeMemory(as: UInt8.self, repeating: 0)
      for y in 0..<(height - pass.y + pass.dy - 1) / pass.dy {
        let end = fill(UnsafeMutableRawBufferPointer(rebasing: row[..<(1 + count)]))
        guard end == .whole else { return end }
        guard row[0] <= 4 else { return .damaged("a filter that PNG does not have") }
        guard let take, let samples = row.baseAddress, let before = above.baseAddress else { continue }
        let (line, previous) = (
          (samples + 1).assumingMemoryBound(to: UInt8.self), before.assumingMemoryBound(to: UInt8.self)
        )
        undo(row[0], line, above: previous, count, step)
        take(line, pass, y, columns)
        previous.update(from: line, count: count)
      }
    }
    return .whole
  }

  /// Inflates the next bytes.
  private mutating func fill(_ row: UnsafeMutableRawBufferPointer) -> End {
    if hasEnded { return .endOfStream }
    var filled = 0
    while filled < row.count {
      while input.isEmpty {
        guard let next = chunks.popFirst() else { return .outOfData }
        input = next
      }
      let (count, state) = inflater.inflate(
        &input, into: UnsafeMutableRawBufferPointer(rebasing: row[filled...]))
      filled += count
      if state == .damaged { return .damaged("damaged samples") }
      hasEnded = state == .ended
      if hasEnded && filled < row.count { return .outOfData }
    }
    return .whole
  }

  /// Undoes one of the five filters of PNG in its place.
  ///
  /// - step: bytes from a sample to the one it is foretold from.
  private func undo(
    _ filter: UInt8, _ row: UnsafeMutablePointer<UInt8>, above: UnsafePointer<UInt8>, _ count: Int,
    _ step: Int
  ) {
    switch filter {
    case 1:
      for x in stride(from: step, to: count, by: 1) { row[x] &+= row[x - step] }
    case 2:
      for x in 0..<count { row[x] &+= above[x] }
    case 3:
      for x in 0..<min(step, count) { row[x] &+= above[x] / 2 }
      for x in stride(from: step, to: count, by: 1) {
        row[x] &+= UInt8((UInt16(row[x - step]) + UInt16(above[x])) / 2)
      }
    case 4:
      for x in 0..<min(step, count) { row[x] &+= above[x] }
      for x in stride(from: step, to: count, by: 1) {
        row[x] &+= paeth(Int16(row[x - step]), Int16(above[x]), Int16(above[x - step]))
      }
    default: break
    }
  }

  /// Whichever of three neighbours is nearest to left + up − corner.
  private func paeth(_ left: Int16, _ up: Int16, _ corner: Int16) -> UInt8 {
    let (toLeft, toUp, toCorner) = (abs(up - corner), abs(left - corner), abs(left + up - 2 * corner))
    if toLeft <= toUp && toLeft <= toCorner { return UInt8(left) }
    return UInt8(toUp <= toCorner ? up : corner)
  }
}
