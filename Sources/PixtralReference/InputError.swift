import Glibc

/// An input that cannot be used, in one sentence: where, what was expected, what was found, what to do next.
public struct InputError: Error, CustomStringConvertible, Sendable, Equatable {
  public enum Kind: String, Sendable {
    case unreadableFile, unwritableFolder
    case malformedJSON, malformedSafetensors
    case wrongParameters, wrongTensors, wrongTokenizer
    /// No image that can be read; one whose samples are cut off or damaged; one of more pixels than the limit.
    case wrongImage, brokenImage, largeImage
    case wrongTokens, wrongPixels
    case wrongTap, wrongTrace
    /// A chat request that the template does not allow, or that asks for what this version does not do.
    case wrongRequest
  }

  public let kind: Kind
  /// The file, tensor, key or message at fault.
  public let place: String
  public let expected: String
  public let found: String
  /// What the reader can do about it; empty where nothing sensible can be said.
  public let advice: String
  /// For a request: the name of the exception that mistral-common raises for it, where it raises one.
  public let exception: String?

  public init(
    _ kind: Kind, _ place: String, expected: String, found: String, advice: String = "", exception: String? = nil
  ) {
    self.kind = kind
    self.place = place.isEmpty ? "''" : place
    self.expected = expected
    self.found = found
    self.advice = advice
    self.exception = exception
  }

  /// The same, with the name of an exception.
  func raised(as exception: String) -> InputError {
    InputError(kind, place, expected: expected, found: found, advice: advice, exception: exception)
  }

  /// `exception` if there is one, else the kind: what programs branch on.
  public var type: String { exception ?? kind.rawValue }

  public var description: String {
    onOneLine("\(place): expected \(expected), found \(found.prefix(200))\(advice.isEmpty ? "" : "; \(advice)")")
  }
}

/// Control characters of an input written out: a sentence stays a line, and a terminal obeys nothing that a file says.
private func onOneLine(_ text: String) -> String {
  var line = ""
  for scalar in text.unicodeScalars {
    if scalar.properties.generalCategory == .control { line += scalar.escaped(asASCII: true) } else { line.unicodeScalars.append(scalar) }
  }
  return line
}

/// The message of the last failed system call.
func systemMessage(_ code: Int32 = errno) -> String { String(cString: strerror(code)) }
