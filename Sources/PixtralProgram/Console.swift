import ArgumentParser
import Glibc
import PixtralStorage

/// Lines on standard output and standard error.
///
/// What a file says may stand in any of them: whoever prints a text need not think of it, for
/// control characters are spelled out here, as in JSON, and no terminal obeys a file.
package enum Console {
  /// Text for people, or JSON; line feeds stay.
  package static func out(_ text: String) { write(readable("\(text)\n"), STDOUT_FILENO) }

  /// A piece of a text that goes on. A terminal obeys no character of it but line feeds; a file or a
  /// pipe gets it byte by byte.
  package static func stream(_ text: String) {
    write(isatty(STDOUT_FILENO) != 0 ? readable(text) : Array(text.utf8), STDOUT_FILENO)
  }

  /// Lines for programs, byte by byte.
  package static func out(bytes: [UInt8]) { write(bytes, STDOUT_FILENO) }

  /// Text for people on standard error; line feeds stay.
  package static func message(_ text: String) { write(readable("\(text)\n"), STDERR_FILENO) }

  /// A warning, which is one line whatever it tells of.
  package static func warn(_ warning: String) { message("warning: \(onOneLine(warning))") }

  /// Warns that EXIF's rotation is ignored.
  package static func warn(of orientation: Int?, _ place: String) {
    guard let orientation, orientation != 1 else { return }
    warn("\(place): EXIF notes orientation \(orientation), which is not applied, as in mistral-common")
  }

  /// Control characters but line feeds are written out, which says the same in a string of JSON, and
  /// there are none elsewhere in JSON.
  package static func readable(_ text: String) -> [UInt8] { Array(onOneLine(text, keepingLines: true).utf8) }

  /// Writes all of it, waiting for a reader that is slow where the descriptor does not wait itself.
  private static func write(_ bytes: [UInt8], _ descriptor: Int32) {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + done, $0.count - done) }
      if count >= 0 {
        done += count
      } else if errno == EAGAIN || errno == EWOULDBLOCK {
        wait(for: POLLOUT, descriptor)
      } else if errno != EINTR {
        // An answer that did not arrive is no success.
        if descriptor == STDOUT_FILENO {
          let found = errno == EBADF ? "it closed or only for reading" : systemMessage()
          message("standard output: expected room to write, found \(found)")
          exit(ExitCode.refused.rawValue)
        }
        return
      }
    }
  }

  /// Waits until a descriptor is ready for reading or writing, or fails at it.
  package static func wait(for event: Int32, _ descriptor: Int32) {
    var polled = pollfd(fd: descriptor, events: Int16(event), revents: 0)
    _ = poll(&polled, 1, -1)
  }

  /// A line of progress that the next one replaces; nothing where standard error is no terminal.
  package static func progress(_ text: String) {
    if isatty(STDERR_FILENO) != 0 { write(Array("\r\u{1b}[K".utf8) + readable(text), STDERR_FILENO) }
  }

  /// The same with a bar for how much is done.
  package static func progress(done: Int, of all: Int, _ text: String) {
    let share = all > 0 ? done * 100 / all : 100
    let bar = String(repeating: "#", count: share / 5) + String(repeating: ".", count: 20 - share / 5)
    progress("[\(bar)] \(share)% \(text)")
  }

  /// Columns padded to the same width, all but the first flush right. A cell is one line.
  package static func table(_ rows: [[String]]) -> [String] {
    let rows = rows.map { $0.map { onOneLine($0) } }
    let count = rows.map(\.count).max() ?? 0
    let widths = (0..<count).map { column in
      rows.map { $0.count > column ? $0[column].unicodeScalars.count : 0 }.max() ?? 0
    }
    return rows.map { row in
      let cells = row.enumerated().map { column, cell in
        column == 0 ? padded(cell, -widths[column]) : padded(cell, widths[column])
      }
      return cells.joined(separator: "  ")
    }
  }

  /// A cell of a width, flush right; flush left for a negative width.
  package static func padded(_ cell: String, _ width: Int) -> String {
    let padding = String(repeating: " ", count: max(0, abs(width) - cell.unicodeScalars.count))
    return width < 0 ? cell + padding : padding + cell
  }

  /// A number with a few significant digits.
  package static func short(_ value: Double) -> String {
    if value == 0 || !value.isFinite { return special(value) }
    let magnitude = value.magnitude
    return magnitude >= 1e-3 && magnitude < 1e5 ? fixed(value) : scientific(value)
  }

  /// Four digits behind the point.
  private static func fixed(_ value: Double) -> String { printed("%.4f", value) }

  /// One digit before the point and one behind: `3.4e-07`.
  package static func scientific(_ value: Double) -> String {
    value == 0 || !value.isFinite ? special(value) : printed("%.1e", value)
  }

  /// Zero of either sign, an infinity, or what is no number.
  private static func special(_ value: Double) -> String { value == 0 ? "0" : numberText(value) }

  /// C's printf rounds right, whatever the number.
  private static func printed(_ format: String, _ value: Double) -> String {
    var text = [CChar](repeating: 0, count: 32)
    let count = withVaList([value]) { vsnprintf(&text, text.count, format, $0) }
    precondition((1..<Int32(text.count)).contains(count), "a number of few digits")
    return String(decoding: text[..<Int(count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
