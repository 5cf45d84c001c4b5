import Glibc

/// An input that cannot be used, in one sentence: where, what was expected, what was found, what to
/// do next.
///
/// Every error that a file, a request or an image can cause is one of these. Its description is the
/// sentence.
public struct InputError: Error, CustomStringConvertible, Sendable, Equatable {
  /// What is wrong, for programs that branch on it.
  public enum Kind: String, Sendable {
    /// A file that cannot be opened or read; a file or folder that cannot be written.
    case unreadableFile, unwritable
    /// An argument of the command line that is no text.
    case wrongArgument
    /// A text that is no JSON; a file that is no safetensors file.
    case malformedJSON, malformedSafetensors
    /// Hyper-parameters, tensors or a tokenizer that make no Pixtral.
    case wrongParameters, wrongTensors, wrongTokenizer
    /// No image that can be read; one whose samples are cut off or damaged; one of more pixels than
    /// the limit.
    case wrongImage, brokenImage, largeImage
    /// Tokens or pixels that make no prompt for a checkpoint.
    case wrongTokens, wrongPixels
    /// A run that does not fit in memory.
    case largeRun
    /// A library that computes wrong.
    case wrongLibrary
    /// A pattern that names no tap; a file that is no trace.
    case wrongTap, wrongTrace
    /// A chat request that the template does not allow, or that asks for what this version does not
    /// do.
    case wrongRequest
  }

  /// What is wrong, for programs.
  public let kind: Kind
  /// The file, tensor, key or message at fault.
  public let place: String
  /// What should have been there.
  public let expected: String
  /// What was there.
  public let found: String
  /// What the reader can do about it; empty where nothing sensible can be said.
  public let advice: String
  /// For a request: the name of the exception that mistral-common raises for it, where it raises
  /// one.
  public let exception: String?

  /// - Parameters:
  ///   - kind: what is wrong, for programs.
  ///   - place: the file, tensor, key or message at fault.
  ///   - expected: what should have been there.
  ///   - found: what was there.
  ///   - advice: what to do about it.
  ///   - exception: the exception that mistral-common raises for it.
  public init(
    _ kind: Kind, _ place: String, expected: String, found: String, advice: String = "",
    exception: String? = nil
  ) {
    self.kind = kind
    self.place = place.isEmpty ? "''" : place
    self.expected = expected
    self.found = found.isEmpty ? "''" : found
    self.advice = advice
    self.exception = exception
  }

  /// The same, with the name of an exception.
  package func raised(as exception: String) -> InputError {
    InputError(kind, place, expected: expected, found: found, advice: advice, exception: exception)
  }

  /// The same, of an input that is one of several.
  package func inside(_ whole: String) -> InputError {
    InputError(
      kind, "\(whole), \(place)", expected: expected, found: found, advice: advice, exception: exception)
  }

  /// `exception` if there is one, else the kind: what programs branch on.
  public var type: String { exception ?? kind.rawValue }

  /// The sentence, on one line, however long what it tells of is.
  public var description: String {
    let parts = [place, expected, found, advice].map { shortened($0, to: 300) }
    let sentence = "\(parts[0]): expected \(parts[1]), found \(parts[2])"
    return onOneLine(advice.isEmpty ? sentence : "\(sentence); \(parts[3])")
  }
}

/// The message of the last failed system call.
package func systemMessage(_ code: Int32 = errno) -> String { String(cString: strerror(code)) }
