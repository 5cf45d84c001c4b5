import PixtralText
import Synchronization

/// What shows people a failure, beside the sentence that tells of it. Small, whatever the runtime sent.
package enum Evidence: Sendable {
  case curve(ErrorCurve)
  case tokens(TokenWindow)
  case texts(TextWindow)
  case picture(DifferencePicture)
}

/// Which verdicts get evidence: the first failures of each stage, for a page has an end. A run of
/// thousands of failures keeps no more than these.
package final class EvidenceRoom: Sendable {
  /// So many failures of a stage are shown one by one.
  package static let failures = 10
  /// So many of them with pictures.
  private static let pictures = 6

  private let known: Set<String>
  /// Sessions may go on at the same time.
  private let left = Mutex<[Stage: Int]>([
    .tokens: failures, .grid: 0, .rgb: pictures, .pixels: pictures, .model: failures,
  ])

  /// - known: cases whose failure is not shown.
  package init(sparing known: Set<String> = []) { self.known = known }

  /// Room for one that failed, or that nothing decides.
  func take(_ question: ConformanceCase) -> Bool {
    if known.contains(question.id) { return false }
    return left.withLock { left in
      guard let room = left[question.stage], room > 0 else { return false }
      left[question.stage] = room - 1
      return true
    }
  }
}

/// Tokens expected and found, around the first that differs.
package struct TokenWindow: Sendable {
  package struct Token: Sendable, Equatable {
    let id: Int
    /// Its text; nil for an id that the vocabulary lacks.
    let piece: String?
  }

  /// The index of the first token shown, and of the first that differs.
  let start: Int
  let first: Int
  let expected: [Token]
  let found: [Token]
  let expectedCount: Int
  let foundCount: Int

  init(expected: [Int], found: [Int], differAt first: Int, pieces: (Int) -> String?) {
    let start = max(0, first - 5)
    func window(_ tokens: [Int]) -> [Token] {
      tokens.dropFirst(start).prefix(12).map { Token(id: $0, piece: pieces($0)) }
    }
    (self.start, self.first) = (start, first)
    (self.expected, self.found) = (window(expected), window(found))
    (expectedCount, foundCount) = (expected.count, found.count)
  }
}

/// Two texts around the first character that differs.
package struct TextWindow: Sendable {
  /// The index of the first Unicode scalar that differs.
  let first: Int
  /// What both have before it, at the most 40 scalars.
  let before: String
  let expected: String
  let found: String

  init(expected: String, found: String) {
    let (e, f) = (expected.unicodeScalars, found.unicodeScalars)
    let common = zip(e, f).prefix { $0 == $1 }.count
    func text(_ scalars: some Sequence<Unicode.Scalar>) -> String {
      var text = String.UnicodeScalarView()
      text.append(contentsOf: scalars)
      return String(text)
    }
    first = common
    before = text(e.prefix(common).suffix(40))
    self.expected = text(e.dropFirst(common).prefix(40))
    self.found = text(f.dropFirst(common).prefix(40))
  }
}
