import ArgumentParser
import Glibc
import PixtralStorage

/// Lines on standard output and standard error.
enum Console {
  static func out(_ line: String) { write(Array("\(line)\n".utf8), STDOUT_FILENO) }

  static func out(bytes: [UInt8]) { write(bytes, STDOUT_FILENO) }

  /// Warns that EXIF's rotation is ignored.
  static func warn(of orientation: Int?, _ place: String) {
    guard let orientation, orientation != 1 else { return }
    message(
      "warning: \(place): EXIF notes orientation \(orientation), which is not applied, as in mistral-common")
  }

  static func message(_ line: String) { write(Array("\(line)\n".utf8), STDERR_FILENO) }

  private static func write(_ bytes: [UInt8], _ descriptor: Int32) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno != EINTR {
        // An answer that did not arrive is no success.
        if descriptor == STDOUT_FILENO {
          message("standard output: expected room to write, found \(systemMessage())")
          exit(ExitCode.refused.rawValue)
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
