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
      ? try RuntimeDescription(JSON(file: MappedFile(plain: file), upTo: 1 << 20), place: file)
      : RuntimeDescription(
        name: root.split(separator: "/").last.map(String.init) ?? root, version: "", arithmetic: .float32,
        features: Self.features)
  }

  /// What a runtime may have of which only its answers tell: everything but transformers' own ways.
  package static let features: Set<String> = [
    "tokens", "tokens.openai", "tokens.fim", "tokens.truncation", "grid", "rgb", "pixels", "pixels.sizes",
    "step", "trace", "answer",
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
    let (whole, tokens, output) = ("answer.json", "tokens.json", "output.safetensors")
    let found = [whole, tokens, output].filter { exists("\(folder)/\($0)") }
    if found.isEmpty { return .unsupported("there is no answer in \(folder)") }
    // A pipe would never end.
    func json(_ name: String) throws -> JSON {
      try JSON(file: MappedFile(plain: "\(folder)/\(name)"))
    }
    do {
      if found.contains(whole) {
        let json = try json(whole)
        guard case .object = json else { return .malformed("\(whole) holds no object") }
        // Of two answers none is taken for the runtime's.
        if let other = found.dropFirst().first(where: { json["tensors"] != .string($0) }) {
          return .malformed("\(whole) and \(other) are two answers")
        }
        return Answer(json)
      }
      var members: [JSON.Member] = []
      if found.contains(tokens) {
        let json = try json(tokens)
        guard case .array = json else { return .malformed("\(tokens) holds no array") }
        members.append(.init(key: "tokens", value: json))
      }
      if found.contains(output) { members.append(.init(key: "tensors", value: .string(output))) }
      return .value(.object(members))
    } catch { return .malformed("\(error)") }
  }

  /// The answer to a question lies in its folder, or it would not be the answer to that one.
  package func mayName(_ file: String) -> Bool {
    !file.hasPrefix("/") && !file.split(separator: "/").contains("..")
  }
}

/// Whether there is something of a name, whatever it is.
private func exists(_ path: String) -> Bool {
  var status = stat()
  return lstat(path, &status) == 0
}
