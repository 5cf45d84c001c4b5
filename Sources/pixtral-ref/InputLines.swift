import Glibc
import PixtralProgram
import PixtralStorage

/// Lines of standard input, of any length and any bytes.
final class InputLines {
  /// What has been read and is not yet done with begins at `start` and ends at `end`; up to
  /// `searched` no line ends.
  private var memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 1)
  private var (start, searched, end) = (0, 0, 0)
  private var isAtEnd = false

  deinit { memory.deallocate() }

  /// The next line, without its end, there until the next call; nil when there is none.
  ///
  /// - Throws: `InputError` of kind `unreadableFile`.
  func next() throws(InputError) -> UnsafeRawBufferPointer? {
    while true {
      if let lineEnd = findLineEnd() { return take(upTo: lineEnd, next: lineEnd + 1) }
      if isAtEnd { return start < end ? take(upTo: end, next: end) : nil }
      try readMore()
    }
  }

  /// Whether a whole line is there without waiting for it.
  func hasNext() throws(InputError) -> Bool {
    while findLineEnd() == nil {
      var descriptor = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
      guard !isAtEnd, poll(&descriptor, 1, 0) > 0 else { return false }
      try readMore()
    }
    return true
  }

  private func take(upTo lineEnd: Int, next: Int) -> UnsafeRawBufferPointer {
    defer { (start, searched) = (next, next) }
    return UnsafeRawBufferPointer(rebasing: memory[start..<lineEnd])
  }

  private func findLineEnd() -> Int? {
    guard let base = memory.baseAddress,
      let found = memchr(base + searched, Int32(UInt8(ascii: "\n")), end - searched)
    else {
      searched = end
      return nil
    }
    return found - UnsafeMutableRawPointer(base)
  }

  private func readMore() throws(InputError) {
    makeRoom()
    let count = read(STDIN_FILENO, memory.baseAddress! + end, memory.count - end)
    if count > 0 {
      end += count
    } else if count == 0 {
      isAtEnd = true
    } else if errno == EAGAIN || errno == EWOULDBLOCK {
      Console.wait(for: POLLIN, STDIN_FILENO)
    } else if errno != EINTR {
      throw InputError(
        .unreadableFile, "standard input", expected: "lines that can be read",
        found: errno == EBADF ? "it closed or only for writing" : systemMessage())
    }
  }

  /// What is left goes to the beginning, or all of it into twice the memory: each byte is moved a
  /// few times at most, however long a line is.
  private func makeRoom() {
    guard end == memory.count else { return }
    let left = UnsafeRawBufferPointer(rebasing: memory[start..<end])
    if left.count > memory.count / 2 {
      let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * memory.count, alignment: 1)
      larger.copyMemory(from: left)
      memory.deallocate()
      memory = larger
    } else {
      memmove(memory.baseAddress!, left.baseAddress!, left.count)
    }
    (start, searched, end) = (0, searched - start, left.count)
  }
}
