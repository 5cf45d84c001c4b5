import Glibc

/// A file on its way to disk. It has another name until it is whole, so that what an interrupted
/// run leaves cannot be taken for it.
package final class NewFile {
  /// Behind any link.
  package let path: String
  private let partialPath: String
  /// nil once it is closed.
  private var file: UnsafeMutablePointer<FILE>?

  /// - path: where the whole file goes, in the place of an older one. Devices, pipes and folders
  ///   are left alone.
  /// - Throws: `InputError` of kind `unwritable`.
  package init(_ path: String) throws {
    func refuse(_ found: String) -> InputError {
      InputError(.unwritable, path, expected: "a file that can be written", found: found)
    }
    var status = stat()
    // A rename would put the new file in the place of whatever has the name, a device too.
    if stat(path, &status) == 0 && status.st_mode & S_IFMT != S_IFREG {
      throw refuse("something that is no plain file")
    }
    // What a link leads to is replaced, not the link.
    guard let target = Self.target(of: path) else { throw refuse("a link to nothing") }
    partialPath = Self.partialPath(of: target)
    let flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
    let descriptor = open(partialPath, flags, 0o666)
    guard descriptor >= 0 else { throw refuse(systemMessage()) }
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, ftruncate(descriptor, 0) == 0
    else {
      close(descriptor)
      throw refuse("something that is no plain file under the name \(partialPath)")
    }
    guard let file = fdopen(descriptor, "w") else { fatalError("out of memory") }
    self.path = target
    self.file = file
  }

  /// The file that a path leads to through links; nil for a link to nothing.
  private static func target(of path: String) -> String? {
    var status = stat()
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFLNK else { return path }
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  /// The name until the file is whole.
  package static func partialPath(of path: String) -> String { path + ".partial" }

  package func write(_ bytes: UnsafeRawBufferPointer) throws {
    guard let file else { preconditionFailure("\(path) is closed") }
    guard bytes.isEmpty || fwrite(bytes.baseAddress!, 1, bytes.count, file) == bytes.count else {
      throw failure()
    }
  }

  /// Gives the file its name.
  package func finish() throws {
    guard let closing = file else { preconditionFailure("\(path) is closed") }
    file = nil
    guard fclose(closing) == 0, rename(partialPath, path) == 0 else { throw failure() }
  }

  /// Leaves nothing behind of a file that is not whole.
  package func abandon() {
    if let file { fclose(file) }
    file = nil
    unlink(partialPath)
  }

  /// Writes a whole file or none.
  package static func write(_ bytes: UnsafeRawBufferPointer, to path: String) throws {
    let file = try NewFile(path)
    do {
      try file.write(bytes)
      try file.finish()
    } catch {
      file.abandon()
      throw error
    }
  }

  private func failure() -> InputError {
    InputError(.unwritable, path, expected: "room to write it", found: systemMessage())
  }
}
