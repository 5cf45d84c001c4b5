import Glibc

/// Files that are one thing together, such as the two of a trace, on their way into a folder.
///
/// All of them get their names at the end, when all are whole. The one that was begun last makes the
/// folder what it is: its older one goes first and it comes last, so that a folder in which the
/// names were changing when the power went holds nothing that can be taken for whole.
package final class OutputFolder {
  package let path: String
  private let folder: OpenFolder
  /// Folders that were not there before, the outermost first.
  private let made: [String]
  private let inputs: [String]
  private var files: [NewFile] = []
  private var outdated: [String] = []
  private var isFinished = false

  /// Makes the folder and those above it if need be, and removes what killed runs have left in it.
  /// Unless it is finished, new folders go when this object does.
  ///
  /// - inputs: files that the run reads; none of them is replaced.
  /// - Throws: `InputError` of kind `unwritable`.
  package init(_ path: String, sparing inputs: [String]) throws {
    (folder, made) = try Self.make(path)
    self.path = path
    self.inputs = inputs
    for name in fileNames(in: path) ?? [] where name.hasSuffix(NewFile.partialSuffix) {
      _ = folder.removeAbandoned(name, sparing: inputs)
    }
  }

  deinit {
    if !isFinished { abandon() }
  }

  private static func make(_ path: String) throws -> (OpenFolder, made: [String]) {
    func refuse(_ found: String) -> InputError {
      InputError(.unwritable, path, expected: "a folder that can be written", found: found)
    }
    if path.isEmpty { throw refuse("an empty name") }
    let ends = path.utf8.indices.filter { path.utf8[$0] == UInt8(ascii: "/") } + [path.endIndex]
    let paths = ends.map { String(path[..<$0]) }.filter { !$0.isEmpty }
    return try Unfinished.change { things in
      var made: [String] = []
      do {
        // Another run may remove the folders that it has made, and these may be above ours.
        for _ in 0..<100 {
          for path in paths where !isFolder(path) {
            if mkdir(path, 0o777) == 0 {
              made.append(path)
            } else if errno != EEXIST && errno != ENOENT {
              throw refuse(systemMessage())
            }
          }
          if let folder = OpenFolder(path) {
            guard access(path, W_OK) == 0 else { throw refuse(systemMessage()) }
            things.folders += made
            return (folder, made)
          }
          if errno != ENOENT { break }
        }
        throw refuse(systemMessage())
      } catch {
        for folder in made.reversed() { rmdir(folder) }
        throw error
      }
    }
  }

  /// Begins a file of the folder.
  ///
  /// - room: how many bytes it will have, as far as they are known.
  /// - Throws: `InputError` of kind `unwritable`, also if another run writes it.
  package func newFile(_ name: String, room: Int) throws -> NewFile {
    let file = try NewFile("\(path)/\(name)", in: folder, room: room, sparing: inputs)
    files.append(file)
    return file
  }

  /// Has an older file go when the new ones get their names: it does not belong to them.
  ///
  /// - Throws: `InputError` of kind `unwritable` if the run reads it.
  package func outdate(_ name: String) throws {
    var older = stat()
    if fstatat(folder.descriptor, name, &older, 0) == 0, isAny(of: inputs, older) {
      throw InputError(
        .unwritable, "\(path)/\(name)", expected: "an older file that may go",
        found: "one that the same command reads", advice: "choose another place")
    }
    outdated.append(name)
  }

  /// Gives all files their names.
  package func finish() throws {
    for file in files { try file.complete() }
    try Unfinished.change { things in
      for file in files { try file.checkPlace() }
      var named: [NewFile] = []
      do {
        if files.count > 1, let last = files.last { unlinkat(folder.descriptor, last.name, 0) }
        for file in files.dropLast() {
          try file.takePlace(&things)
          named.append(file)
        }
        for name in outdated { unlinkat(folder.descriptor, name, 0) }
        try files.last?.takePlace(&things)
      } catch {
        for file in named { unlinkat(folder.descriptor, file.name, 0) }
        throw error
      }
      things.folders.removeAll { made.contains($0) }
    }
    folder.sync()
    isFinished = true
  }

  private func abandon() {
    for file in files { file.abandon() }
    Unfinished.change { things in
      // One that another run has something in goes with that run, or when the process ends.
      let gone = made.reversed().filter { rmdir($0) == 0 || errno == ENOENT }
      things.folders.removeAll { gone.contains($0) }
    }
  }
}
