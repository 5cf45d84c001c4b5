import Glibc
import PixtralReference
import PixtralStorage

/// Writes the questions of cases into folders instead of asking them: `question.json`, as a session has it, with its
/// files beside it. AnswerFiles reads what a runtime adds.
package final class QuestionFiles: Answering {
  package let description: RuntimeDescription
  private let root: String
  /// Questions that have been written.
  package private(set) var count = 0

  /// - root: a folder that is not there yet, or is empty.
  /// - Throws: `InputError` for one with something in it, or that cannot be made.
  package init(_ root: String, layout: CheckpointLayout) throws {
    // A name such as new/.. is that of a folder only when new is there.
    try makeFolders(root)
    guard fileNames(in: root)?.isEmpty ?? true else {
      throw InputError(
        .unwritable, root, expected: "a new folder, or an empty one", found: "one with files in it",
        advice: "choose another")
    }
    self.root = root
    let other: CheckpointLayout = layout == .hf ? .mistral : .hf
    description = RuntimeDescription(
      name: "", version: "", arithmetic: .float32,
      features: AnswerFiles.features.subtracting(["layout.\(other.rawValue)"]))
    let template: JSON = [
      "name": "the name of your runtime", "version": "", "arithmetic": "float32",
      "features": .array(description.features.sorted().map(JSON.string)),
    ]
    try write(Array("\(template.text())\n".utf8), to: "\(root)/\(AnswerFiles.runtimeName)")
  }

  package func folder(of question: ConformanceCase) throws -> String {
    let folder = "\(root)/\(question.id)"
    try makeFolders(folder)
    return folder
  }

  package var isSentOn: Bool { true }

  package func load(_ question: ConformanceCase, _ folder: (CheckpointLayout) throws -> String) throws
    -> Answer?
  {
    _ = try folder(layout)
    return nil
  }

  package func ask(
    _ question: ConformanceCase, _ op: String, _ members: [(key: String, json: [UInt8])]
  ) throws -> Answer {
    let folder = try folder(of: question)
    var line = Array(#"{"op":"\#(op)""#.utf8)
    // Files are named from the folder that they are in. Byte by byte, for what is written may be no text.
    let start = JSON.string("\(folder)/").bytes.dropLast()
    for member in members {
      let named =
        member.json.starts(with: start)
        ? [UInt8(ascii: "\"")] + member.json[start.count...] : member.json[...]
      line += Array(#","\#(member.key)":"#.utf8) + named
    }
    if let model = question.model, op == "trace" || op == "answer" {
      let up = String(repeating: "../", count: question.id.split(separator: "/").count)
      let path = "\(up)\(CheckpointFolders.name(of: model, layout: layout))"
      line += Array(#","checkpoint":\#(JSON.string(path).text()),"layout":"\#(layout.rawValue)""#.utf8)
    }
    try write(line + Array("}\n".utf8), to: "\(folder)/question.json")
    count += 1
    return .unsupported("written")
  }
}

/// Makes a folder and those around it.
private func makeFolders(_ path: String) throws {
  if isFolder(path) { return }
  let parent = folder(of: path)
  if !parent.isEmpty, parent != path { try makeFolders(parent) }
  guard mkdir(path, 0o777) == 0 || errno == EEXIST else {
    throw InputError(.unwritable, path, expected: "a folder that can be made", found: systemMessage())
  }
}
