/// A release of mistral-common, in which the template has its source of truth and which has changed
/// its answer.
///
/// The behaviours have names that Docs/Releases.md and the cases use. Only valid requests are
/// told apart: which requests a release turns down is not modelled, the rules of
/// `RequestRules.swift` are the current release's.
public struct Release: Sendable, Comparable, CustomStringConvertible {
  private let numbers: [Int]

  /// The newest that is known: its answer is the default.
  public static let current = Release([1, 13, 1])
  /// The first that has the tokenizer of Pixtral Large.
  public static let earliest = Release([1, 5, 0])

  /// The first that has `ChatCompletionRequest.from_openai`.
  public static let earliestOfOpenAIForm = Release([1, 6, 0])

  private init(_ numbers: [Int]) { self.numbers = numbers }

  /// - text: such as `1.8.0`, from `earliest` to `current`.
  public init?(_ text: String) {
    let numbers = text.split(separator: ".", omittingEmptySubsequences: false).map { Int($0) ?? -1 }
    guard numbers.count == 3, numbers.allSatisfy({ $0 >= 0 }) else { return nil }
    self.init(numbers)
    guard self >= .earliest, self <= .current else { return nil }
  }

  public var description: String { numbers.map(String.init).joined(separator: ".") }

  public static func < (a: Release, b: Release) -> Bool { a.numbers.lexicographicallyPrecedes(b.numbers) }

  /// Whether it takes requests in OpenAI's form.
  public var hasOpenAIForm: Bool { self >= .earliestOfOpenAIForm }

  /// `two-images-swapped`: a user message of two images gives them in reverse order.
  var swapsTwoImages: Bool { self >= Release([1, 8, 0]) && self < Release([1, 11, 5]) }
  /// `continued-message-ended`: a message that `continue_final_message` leaves open is closed with
  /// `</s>` all the same.
  var endsContinuedMessage: Bool { self < Release([1, 11, 3]) }
  /// `empty-assistant-joined`: among assistant messages that are one, an empty string counts as a
  /// text too. No release before took it for one, though it did so with chunks.
  var joinsEmptyAssistantStrings: Bool { joinsEmptyTexts && self >= Release([1, 8, 2]) }
  /// `empty-texts-joined`: empty texts count where texts are joined, and leave an empty line more.
  var joinsEmptyTexts: Bool { self < Release([1, 11, 4]) }
  /// `tool-results-normalised`: a tool's answer that is JSON is written anew by Python's `json`.
  var normalisesToolResults: Bool { self < Release([1, 11, 4]) }
}
