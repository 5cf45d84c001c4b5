import ArgumentParser
import Glibc
import PixtralReference

/// How large an image may be.
struct PixelLimit: ParsableArguments {
  @Option(help: "Refuse images of more pixels than this, before they are decoded.")
  var maxPixels = RGBImage.usualPixels

  func validate() throws {
    guard (1...Int(UInt32.max)).contains(maxPixels) else { throw ValidationError("--max-pixels must be from 1 to \(UInt32.max).") }
  }

  func applied(to rule: ImageRule) -> ImageRule {
    var rule = rule
    rule.maxPixels = maxPixels
    return rule
  }
}

/// Lines on standard output and standard error.
enum Console {
  static func out(_ line: String) { write(Array("\(line)\n".utf8), STDOUT_FILENO) }

  static func out(bytes: [UInt8]) { write(bytes, STDOUT_FILENO) }

  /// Says that a picture may lie on its side, as it does for the model.
  static func warn(of orientation: Int?, _ place: String) {
    guard let orientation, orientation != 1 else { return }
    message("warning: \(place): EXIF notes orientation \(orientation), which is not applied, as in mistral-common")
  }

  static func message(_ line: String) { write(Array("\(line)\n".utf8), STDERR_FILENO) }

  private static func write(_ bytes: [UInt8], _ descriptor: Int32) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno != EINTR {
        // An answer that did not arrive is no success.
        if descriptor == STDOUT_FILENO {
          message("standard output: expected room to write, found \(String(cString: strerror(errno)))")
          exit(1)
        }
        return
      }
      rest = rest.dropFirst(max(0, count))
    }
  }

  /// A line of progress that the next one replaces; nothing where standard error is no terminal.
  static func progress(_ text: String) {
    if isatty(STDERR_FILENO) != 0 { write(Array("\r\u{1b}[K\(text)".utf8), STDERR_FILENO) }
  }

  /// Columns padded to the same width, all but the first flush right.
  static func table(_ rows: [[String]]) -> [String] {
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
  static func padded(_ cell: String, _ width: Int) -> String {
    let padding = String(repeating: " ", count: max(0, abs(width) - cell.unicodeScalars.count))
    return width < 0 ? cell + padding : padding + cell
  }

  /// A number with a few significant digits.
  static func short(_ value: Double) -> String {
    if !value.isFinite { return "\(value)" }
    if value == 0 { return "0" }
    let magnitude = value.magnitude
    return magnitude >= 1e-3 && magnitude < 1e5 ? fixed(value) : scientific(value)
  }

  private static func fixed(_ value: Double) -> String {
    let scaled = (value.magnitude * 10_000).rounded()
    let (whole, rest) = (Int(scaled) / 10_000, Int(scaled) % 10_000)
    return "\(value < 0 ? "-" : "")\(whole).\(String(10_000 + rest).dropFirst())"
  }

  /// One digit before the point and one behind: `3.4e-07`.
  static func scientific(_ value: Double) -> String {
    if value == 0 || !value.isFinite { return value == 0 ? "0" : "\(value)" }
    var exponent = Int(log10(value.magnitude).rounded(.down))
    var tenths = Int((value.magnitude / pow(10, Double(exponent)) * 10).rounded())
    if tenths == 100 { (tenths, exponent) = (10, exponent + 1) }
    let digits = exponent.magnitude < 10 ? "0\(exponent.magnitude)" : "\(exponent.magnitude)"
    return "\(value < 0 ? "-" : "")\(tenths / 10).\(tenths % 10)e\(exponent < 0 ? "-" : "+")\(digits)"
  }
}

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
    isAtEnd = added == 0 || added < 0 && errno != EINTR
  }
}

/// Removes a file when the process is told to stop, so that an interrupted run leaves nothing half-written.
enum Cleanup {
  nonisolated(unsafe) private static var path: UnsafeMutablePointer<CChar>?

  static func removeOnInterrupt(_ file: String) {
    path = strdup(file)
    var signals = sigset_t()
    sigemptyset(&signals)
    for number in [SIGINT, SIGTERM, SIGHUP] {
      sigaddset(&signals, number)
      signal(number) { number in
        if let path = Cleanup.path { unlink(path) }
        _exit(128 + number)
      }
    }
    // Whoever started the program may have had them blocked, as threads of a pool have.
    pthread_sigmask(SIG_UNBLOCK, &signals, nil)
  }
}

/// The tokenizer file: as given, or in `Fixtures/tokenizer` of the checkout that the program was built in or is run from.
func tokenizerPath(_ given: String?) throws -> String {
  if let given { return given }
  var executable = [CChar](repeating: 0, count: 4096)
  let length = max(0, readlink("/proc/self/exe", &executable, 4095))
  let program = String(decoding: executable[..<length].map(UInt8.init), as: UTF8.self)
  var folder = program.split(separator: "/")
  while !folder.isEmpty {
    folder.removeLast()
    let candidate = "/\(folder.joined(separator: "/"))/Fixtures/tokenizer/\(Tokenizer.fileName)"
    if access(candidate, R_OK) == 0 { return candidate }
  }
  let local = "Fixtures/tokenizer/\(Tokenizer.fileName)"
  if access(local, R_OK) == 0 { return local }
  throw InputError(
    .unreadableFile, "the tokenizer", expected: "\(Tokenizer.fileName) in Fixtures/tokenizer of a checkout", found: "none",
    advice: "give its path with --tokenizer")
}

/// The patterns of an option `--taps`; none if it was not given.
func patterns(_ option: String?) -> [String] {
  option?.split { $0 == "," || $0 == " " }.map(String.init) ?? []
}
