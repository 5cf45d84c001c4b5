import Glibc

/// Lines of standard input, of any length and any bytes.
struct InputLines {
  private var buffer: [UInt8] = []
  /// Where the next line begins, and how far no line end has been found.
  private var start = 0
  private var searched = 0
  private var isAtEnd = false

  /// The next line, without its end; nil when there is none.
  mutating func next() -> ArraySlice<UInt8>? {
    while true {
      if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        defer { (start, searched) = (end + 1, end + 1) }
        return buffer[start..<end]
      }
      searched = buffer.count
      if isAtEnd {
        defer { start = buffer.count }
        return start < buffer.count ? buffer[start...] : nil
      }
      readMore()
    }
  }

  /// Whether a whole line is there without waiting for it.
  mutating func hasNext() -> Bool {
    while !buffer[searched...].contains(UInt8(ascii: "\n")) {
      searched = buffer.count
      var descriptor = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
      guard !isAtEnd, poll(&descriptor, 1, 0) > 0 else { return false }
      readMore()
    }
    return true
  }

  private mutating func readMore() {
    if start > 0 {
      buffer.removeFirst(start)
      (start, searched) = (0, searched - start)
    }
    let size = max(1 << 16, buffer.count)
    let count = buffer.count
    buffer.append(contentsOf: repeatElement(0, count: size))
    let added = buffer.withUnsafeMutableBytes { read(STDIN_FILENO, $0.baseAddress! + count, size) }
    buffer.removeLast(size - max(0, added))
    isAtEnd = added == 0 || (added < 0 && errno != EINTR)
  }
}
