import Glibc
import PixtralReference
import PixtralStorage

/// Answers that lie in files, as `conformance export` lays out the questions: a folder a case, DIR/ID, into which a
/// runtime has put `tokens.json`, `output.safetensors`, or any answer of a session as `answer.json`.
/// `DIR/runtime.json` says what the runtime is, in the words of its answer to `hello`.
package final class AnswerFiles: Answering {
  package static let runtimeName = "runtime.json"

  package let description: RuntimeDescription
  private let root: String
  private let scratch: String

  /// - scratch: where the kit puts files of its own: nothing is written into answers.
  /// - Throws: `InputError` for a folder that is not there, or a `runtime.json` that says something else.
  package init(_ root: String, scratch: String) throws {
    (self.root, self.scratch) = (root, scratch)
    guard fileNames(in: root) != nil else {
      throw InputError(
        .unreadableFile, root, expected: "a folder with answers", found: systemMessage(),
        advice: "conformance export writes one, with the questions")
    }
    let file = "\(root)/\(Self.runtimeName)"
    description =
      exists(file)
      ? try RuntimeDescription(JSON(file: file, upTo: 1 << 20), place: file)
      : RuntimeDescription(
        name: fileName(of: root), version: "", arithmetic: .float32, features: Self.features)
  }

  /// What a runtime may have of which only its answers tell: everything but transformers' own ways.
  package static let features: Set<String> = [
    "tokens", "tokens.fim", "tokens.truncation", "grid", "rgb", "pixels", "pixels.sizes", "step", "trace",
    "layout.mistral", "layout.hf", "image.png", "image.jpeg", "image.alpha", "multi-image",
    "resize.opencv-cubic", "resize.opencv-portable",
  ]

  package func folder(of question: ConformanceCase) -> String { "\(root)/\(question.id)" }

  package func inputFolder(of question: ConformanceCase) -> String { scratch }

  package func load(_ question: ConformanceCase, _ folder: (CheckpointLayout) throws -> String) -> Answer? {
    nil
  }

  package func ask(
    _ question: ConformanceCase, _ op: String, _ members: [(key: String, json: [UInt8])]
  ) -> Answer {
    let folder = folder(of: question)
    for (name, key) in [("answer.json", nil), ("tokens.json", "tokens")] as [(String, String?)]
    where exists("\(folder)/\(name)") {
      do {
        // A pipe would never end.
        _ = try MappedFile(plain: "\(folder)/\(name)")
        let json = try JSON(file: "\(folder)/\(name)", upTo: 1 << 23)
        if let key, case .array = json { return .value([key: json]) }
        guard case .object = json else { return .malformed("\(name) holds no object") }
        return Answer(json)
      } catch { return .malformed("\(error)") }
    }
    let output = "output.safetensors"
    return exists("\(folder)/\(output)")
      ? .value(["tensors": .string(output)]) : .unsupported("there is no answer in \(folder)")
  }
}

/// Whether there is something of a name, whatever it is.
private func exists(_ path: String) -> Bool {
  var status = stat()
  return lstat(path, &status) == 0
}
