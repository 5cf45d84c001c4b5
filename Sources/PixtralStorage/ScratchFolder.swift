import Glibc

/// A folder for files of one run. It goes with all that is in it when the run ends, by itself or by a signal.
package final class ScratchFolder {
  package let path: String

  /// - Throws: `InputError` of kind `unwritable` where none can be made.
  package init(_ name: String) throws {
    let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(parent)/\(name)-XXXXXX".utf8CString)
    path = try Unfinished.change { things in
      guard mkdtemp(&template) != nil else {
        throw InputError(
          .unwritable, parent, expected: "a folder for files of a run", found: systemMessage())
      }
      let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
      things.temporary.insert(path)
      return path
    }
  }

  /// A folder in it.
  package func part(_ n: Int) throws -> String {
    let part = "\(path)/session-\(n)"
    guard mkdir(part, 0o777) == 0 else {
      throw InputError(.unwritable, part, expected: "a folder for files of a session", found: systemMessage())
    }
    return part
  }

  deinit {
    Unfinished.change { things in
      Unfinished.removeAll(path)
      things.temporary.remove(path)
    }
  }
}

/// Processes that must not outlive the program.
package enum StartedProcesses {
  package static func begin(group: Int32) { _ = Unfinished.change { $0.groups.insert(group) } }
  package static func end(group: Int32) { _ = Unfinished.change { $0.groups.remove(group) } }
}
