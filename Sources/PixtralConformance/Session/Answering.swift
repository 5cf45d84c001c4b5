import PixtralReference
import PixtralStorage

/// Who answers the questions of cases: a process, or files.
package protocol Answering: AnyObject {
  var description: RuntimeDescription { get }
  /// Where the files of an answer are.
  func folder(of question: ConformanceCase) throws -> String
  /// Whether an answer may have its tensors in a file of this name.
  func mayName(_ file: String) -> Bool
  /// Whether the questions go on to somebody who has no file of the suite.
  var isSentOn: Bool { get }
  /// Where the files of a question are put.
  func inputFolder(of question: ConformanceCase) throws -> String
  /// Asks one question.
  ///
  /// - op: the kind of question.
  /// - members: what it asks, as JSON text, which is sent as it is.
  func ask(_ question: ConformanceCase, _ op: String, _ members: [(key: String, json: [UInt8])]) throws
    -> Answer
  /// Why a question is not asked that needs a feature which it has not.
  func lacking(_ feature: String) -> String
  /// Loads a checkpoint for the question that comes.
  ///
  /// - folder: writes it where there is none, and gives its path.
  /// - Returns: nil if it is loaded; else what became of it.
  func load(_ question: ConformanceCase, _ folder: (CheckpointLayout) throws -> String) throws -> Answer?
}

extension Answering {
  package func inputFolder(of question: ConformanceCase) throws -> String { try folder(of: question) }

  /// A process may put its files where it likes.
  package func mayName(_ file: String) -> Bool { true }

  package var isSentOn: Bool { false }

  package func lacking(_ feature: String) -> String { "the runtime does not claim \(feature)" }

  /// The layout that it takes: Mistral's if both or neither.
  var layout: CheckpointLayout {
    let features = description.features
    return features.contains("layout.hf") && !features.contains("layout.mistral") ? .hf : .mistral
  }
}

/// What becomes of a question.
package enum Answer {
  case value(JSON)
  /// It says that the question is invalid.
  case rejected(String)
  /// It says that it does not do this.
  case unsupported(String)
  /// The process ended.
  case crashed(String)
  case timedOut
  /// What came is no answer to the question.
  case malformed(String)

  /// What an object says.
  init(_ json: JSON) {
    // Some write null for what is not there.
    if let reject = json["reject"], reject != .null {
      guard case .object = reject else {
        self = .malformed("reject is \(shortened(reject.text(), to: 40)), and has to be an object")
        return
      }
      self = .rejected(reject["message"]?.plainText ?? reject["type"]?.plainText ?? "")
    } else if let why = json["unsupported"], why != .null {
      guard case .string(let why) = why else {
        self = .malformed("unsupported is \(shortened(why.text(), to: 40)), and has to be a string")
        return
      }
      self = .unsupported(why)
    } else {
      self = .value(json)
    }
  }
}
