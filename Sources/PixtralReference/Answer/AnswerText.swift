import PixtralText

/// The text of an answer as its tokens come: whole characters, up to the first stop. Answer.md 4.
struct AnswerText {
  private var stream: TextStream
  private let stops: [[UInt8]]
  /// Bytes that are not certain as long as a stop may begin with them.
  private let uncertain: Int
  /// Everything so far, in UTF-8; up to the stop once one is there.
  private var bytes: [UInt8] = []
  /// How much of it has been given out.
  private var given = 0
  /// The stop that is there: nothing more belongs to the text.
  private(set) var stop: String?
  /// Whether there is one.
  var hasStopped: Bool { stop != nil }

  /// - stops: texts that end the answer, none of them empty; they are no part of it.
  init(_ tokenizer: Tokenizer, stops: [String]) {
    stream = tokenizer.textStream
    self.stops = stops.map { Array($0.utf8) }
    uncertain = max(0, (self.stops.map(\.count).max() ?? 0) - 1)
    precondition(!self.stops.contains([]), "a stop is no empty text")
  }

  /// All of the text.
  var whole: String { String(decoding: bytes, as: UTF8.self) }

  /// Takes a token.
  ///
  /// - Returns: the text that is certain by now and was not before: what may yet turn out to be the
  ///   beginning of a stop is held back.
  mutating func append(_ token: Int) -> String { take(stream.append(token)) }

  /// No token follows.
  ///
  /// - Returns: the rest of the text.
  mutating func finish() -> String {
    let certain = take(stream.finish())
    defer { given = bytes.count }
    return certain + String(decoding: bytes[given...], as: UTF8.self)
  }

  private mutating func take(_ text: String) -> String {
    if hasStopped { return "" }
    // A stop that is complete only now ends in what has come now.
    let from = max(given, bytes.count - uncertain)
    bytes += text.utf8
    for at in from..<bytes.count {
      guard let found = stops.first(where: { bytes[at...].starts(with: $0) }) else { continue }
      bytes.removeSubrange(at...)
      stop = String(decoding: found, as: UTF8.self)
      break
    }
    let held = hasStopped ? 0 : heldBack
    defer { given = bytes.count - held }
    return String(decoding: bytes[given..<bytes.count - held], as: UTF8.self)
  }

  /// Bytes at the end that a stop may begin with.
  private var heldBack: Int {
    for count in stride(from: min(uncertain, bytes.count - given), to: 0, by: -1)
    where stops.contains(where: { $0.count > count && $0.starts(with: bytes.suffix(count)) }) {
      return count
    }
    return 0
  }
}
