import Glibc

/// A folder that one run at a time writes to.
package final class OutputFolder {
  package let path: String
  private let descriptor: Int32
  /// Folders that were not there before, the outermost first.
  private let made: [String]

  /// Makes the folder and those above it if need be, and holds it until the end of the process or
  /// of this object.
  ///
  /// - Throws: `InputError` of kind `unwritable`; then no new folder is left.
  package init(_ path: String) throws {
    func refuse(_ found: String, advice: String = "") -> InputError {
      InputError(.unwritable, path, expected: "a folder that can be written", found: found, advice: advice)
    }
    if path.isEmpty { throw refuse("an empty name") }
    var made: [String] = []
    do {
      var status = stat()
      if stat(path, &status) == 0 {
        guard status.st_mode & S_IFMT == S_IFDIR else { throw refuse("something that is no folder") }
      } else {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        for part in (1...parts.count).map({ parts[..<$0].joined(separator: "/") }) where !part.isEmpty {
          if mkdir(part, 0o777) == 0 {
            made.append(part)
          } else if errno != EEXIST {
            throw refuse(systemMessage())
          }
        }
      }
      guard access(path, W_OK) == 0 else { throw refuse(systemMessage()) }
      descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      guard descriptor >= 0 else { throw refuse(systemMessage()) }
      guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
        close(descriptor)
        throw refuse("another run writing to it", advice: "wait for that, or choose another folder")
      }
    } catch {
      for folder in made.reversed() { rmdir(folder) }
      throw error
    }
    self.path = path
    self.made = made
  }

  deinit { close(descriptor) }

  /// Removes the new folders, if they are empty.
  package func abandon() { for folder in made.reversed() { rmdir(folder) } }
}
