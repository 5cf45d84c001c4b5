import Glibc
import PixtralStorage

/// A day, for a system prompt to name.
public struct Day: Sendable, Equatable, CustomStringConvertible {
  /// `2026-02-28`.
  public let description: String
  private let seconds: time_t

  /// Today, where the program runs.
  public static var today: Day {
    var (now, local) = (time(nil), tm())
    localtime_r(&now, &local)
    return Day(utc: local)
  }

  /// - Parameter text: a year from 1, a month and a day, `2026-02-28`.
  public init?(_ text: String) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard text.utf8.count == 10, parts.map(\.utf8.count) == [4, 2, 2],
      parts.allSatisfy({ $0.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } })
    else { return nil }
    let numbers = parts.map { Int32($0)! }
    guard numbers[0] > 0 else { return nil }
    var date = tm()
    (date.tm_year, date.tm_mon, date.tm_mday) = (numbers[0] - 1900, numbers[1] - 1, numbers[2])
    self.init(utc: date)
    // The 31st of February is another day.
    guard description == text else { return nil }
  }

  /// The day before.
  public var yesterday: Day {
    var (before, date) = (seconds - 86_400, tm())
    gmtime_r(&before, &date)
    return Day(utc: date)
  }

  /// The day of a date; its hour does not matter.
  private init(utc date: tm) {
    var noon = tm()
    (noon.tm_year, noon.tm_mon, noon.tm_mday, noon.tm_hour) = (date.tm_year, date.tm_mon, date.tm_mday, 12)
    seconds = timegm(&noon)
    func digits(_ number: Int32, _ count: Int) -> String {
      let text = "\(number)"
      return String(repeating: "0", count: max(0, count - text.utf8.count)) + text
    }
    description = "\(digits(noon.tm_year + 1900, 4))-\(digits(noon.tm_mon + 1, 2))-\(digits(noon.tm_mday, 2))"
  }
}

extension ChatRequest {
  /// Puts a system message in front, filled in as the model card's `load_system_prompt` does it: with
  /// Python's `str.format`, of which it needs `{name}`, `{today}`, `{yesterday}`, and `{{` and `}}` for
  /// braces. Line ends become line feeds, as they do where Python opens a text file. Answer.md 7.
  ///
  /// - Parameters:
  ///   - template: the text of the file.
  ///   - name: the model's name.
  ///   - today: a day.
  ///   - place: names the template in errors.
  /// - Throws: `InputError` of kind `wrongRequest` for a field of another name, or a brace alone.
  public mutating func prepend(
    systemPrompt template: String, name: String, today: Day, place: String
  ) throws {
    let text = try filled(
      withLineFeeds(template), ["name": name, "today": "\(today)", "yesterday": "\(today.yesterday)"], place)
    var message = Message(.system, [.text(text)])
    message.contentIsString = true
    messages.insert(message, at: 0)
  }
}

/// The text as Python's `open` gives it: a carriage return, with a line feed behind it or without, is a
/// line feed.
private func withLineFeeds(_ text: String) -> String {
  var (result, follows) = (String.UnicodeScalarView(), false)
  for scalar in text.unicodeScalars {
    if !(follows && scalar == "\n") { result.append(scalar == "\r" ? "\n" : scalar) }
    follows = scalar == "\r"
  }
  return String(result)
}

private func filled(_ template: String, _ fields: [String: String], _ place: String) throws -> String {
  func refusal(_ expected: String, _ found: String) -> InputError {
    InputError(.wrongRequest, place, expected: expected, found: found, advice: "write {{ and }} for braces")
  }
  var result = ""
  var rest = template.unicodeScalars[...]
  while let scalar = rest.popFirst() {
    switch scalar {
    case "{" where rest.first == "{", "}" where rest.first == "}":
      rest.removeFirst()
      result.unicodeScalars.append(scalar)
    case "{":
      guard let end = rest.firstIndex(of: "}") else { throw refusal("a } for each {", "none") }
      let field = String(rest[..<end])
      guard let value = fields[field] else {
        throw refusal("the fields {name}, {today} and {yesterday}", "{\(field)}")
      }
      result += value
      rest = rest[end...].dropFirst()
    case "}": throw refusal("a { for each }", "a } alone")
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result
}
