import Glibc

/// A file on its way to disk.
///
/// Until it is whole it is called `NAME.pixtral-ref-partial` and lies beside its place. That file is
/// made new, never opened, and is the lock on the place: a second run that wants it is refused. One
/// that nobody holds was left by a run that was killed, and goes.
///
/// Room is taken before anything is computed, and the name is given when every byte is on the disk;
/// up to then an older file stays. A file that is let go before that, by an error or a signal,
/// leaves nothing.
package final class NewFile {
  /// What the name of every file ends in that is not whole.
  package static let partialSuffix = ".pixtral-ref-partial"

  /// As the caller has written it.
  package let path: String
  let name: String
  private let folder: OpenFolder
  /// Holds the lock.
  private let descriptor: Int32
  private var size = 0
  private var state = State.open

  private enum State {
    /// Whole files have no name yet, named ones are done, and removed ones are gone.
    case open, whole, named, removed
  }

  /// Makes a file that is not whole yet, with room for what it will hold.
  ///
  /// - path: where the whole file goes, in the place of an older one. Links, devices, pipes and
  ///   folders are refused, and an older file that is write-protected.
  /// - room: how many bytes it will have, as far as they are known.
  /// - inputs: files that the run reads; none of them is replaced, under whatever name.
  /// - Throws: `InputError` of kind `unwritable`.
  package convenience init(_ path: String, room: Int = 0, sparing inputs: [String]) throws {
    guard let folder = OpenFolder(PixtralStorage.folder(of: path)) else {
      throw Self.refusal(path, systemMessage())
    }
    try self.init(path, in: folder, room: room, sparing: inputs)
  }

  init(_ path: String, in folder: OpenFolder, room: Int, sparing inputs: [String]) throws {
    self.path = path
    self.folder = folder
    name = fileName(of: path)
    if ["", ".", ".."].contains(name) { throw Self.refusal(path, "the name of a folder") }
    if name.hasSuffix(Self.partialSuffix) {
      throw Self.refusal(path, "a name that is kept for files that are not whole")
    }
    try Self.checkPlace(path, name, in: folder, sparing: inputs)
    descriptor = try Self.makePartial(path, name + Self.partialSuffix, in: folder, sparing: inputs)
    try take(room: room)
  }

  deinit {
    abandon()
    close(descriptor)
  }

  private var partialName: String { name + Self.partialSuffix }

  /// Whether a whole file may have this place.
  func checkPlace() throws { try Self.checkPlace(path, name, in: folder, sparing: []) }

  private static func checkPlace(
    _ path: String, _ name: String, in folder: OpenFolder, sparing inputs: [String]
  ) throws {
    var older = stat()
    guard fstatat(folder.descriptor, name, &older, AT_SYMLINK_NOFOLLOW) == 0 else {
      if errno == ENOENT { return }
      throw refusal(path, systemMessage())
    }
    switch older.st_mode & S_IFMT {
    case S_IFREG: break
    // Behind it may be somebody's only copy of something else.
    case S_IFLNK: throw refusal(path, "a link", "give the path that it leads to, or remove it")
    default: throw refusal(path, "something that is no plain file")
    }
    if isAny(of: inputs, older) {
      throw refusal(path, "a file that the same command reads", "choose another place")
    }
    guard faccessat(folder.descriptor, name, W_OK, 0) == 0 else {
      throw refusal(path, "an older file that is write-protected", "choose another place, or remove it")
    }
  }

  /// Makes the partial file and locks it.
  private static func makePartial(
    _ path: String, _ name: String, in folder: OpenFolder, sparing inputs: [String]
  ) throws -> Int32 {
    try Unfinished.change { things in
      for _ in 0..<100 {
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        let descriptor = openat(folder.descriptor, name, flags, 0o666)
        if descriptor < 0 {
          guard errno == EEXIST else { throw refusal(path, systemMessage()) }
          guard folder.removeAbandoned(name, sparing: inputs) else { break }
          continue
        }
        // Before it was locked, another run may have taken it for abandoned. Where there are no locks
        // nobody can: that it is new must do.
        let isHeld = flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK
        if isHeld && isFile(descriptor, name, in: folder.descriptor) {
          things.files[descriptor] = Unfinished.PartialFile(folder: folder.descriptor, name: name)
          return descriptor
        }
        close(descriptor)
      }
      throw refusal(
        path, "another run writing it, as \(name)", "wait for that to end, or choose another place")
    }
  }

  /// Takes room on the disk.
  private func take(room: Int) throws {
    if room == 0 { return }
    var error = posix_fallocate(descriptor, 0, room)
    while error == EINTR { error = posix_fallocate(descriptor, 0, room) }
    guard error == 0 else {
      throw InputError(
        .unwritable, path, expected: "room for \(room) bytes", found: systemMessage(error),
        advice: "make room, or choose another place")
    }
  }

  package func write(_ bytes: UnsafeRawBufferPointer) throws {
    precondition(state == .open, "\(path) is closed")
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
      guard count >= 0 || errno == EINTR else { throw failure() }
      rest = rest.dropFirst(max(0, count))
    }
    size += bytes.count
  }

  package func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }

  /// Every byte has been written, and is on the disk when this returns.
  package func complete() throws {
    if state == .whole { return }
    precondition(state == .open, "\(path) is closed")
    // Gives back room that was not needed.
    guard ftruncate(descriptor, off_t(size)) == 0, fsync(descriptor) == 0 else { throw failure() }
    state = .whole
  }

  /// Gives the file its name.
  package func finish() throws {
    try complete()
    try Unfinished.change { things in
      try checkPlace()
      try takePlace(&things)
    }
    folder.sync()
  }

  /// Gives a whole file its name.
  func takePlace(_ things: inout Unfinished.Things) throws {
    precondition(state == .whole, "\(path) is not whole")
    guard isFile(descriptor, partialName, in: folder.descriptor) else {
      throw Self.refusal(path, "\(partialName) removed or replaced meanwhile")
    }
    guard renameat(folder.descriptor, partialName, folder.descriptor, name) == 0 else { throw failure() }
    things.files[descriptor] = nil
    state = .named
  }

  /// Leaves nothing of a file that has no name yet.
  func abandon() {
    if state == .named || state == .removed { return }
    Unfinished.change { things in
      things.files[descriptor] = nil
      if isFile(descriptor, partialName, in: folder.descriptor) {
        unlinkat(folder.descriptor, partialName, 0)
      }
    }
    state = .removed
  }

  /// Writes a whole file or none.
  package static func write(_ bytes: [UInt8], to path: String, sparing inputs: [String]) throws {
    let file = try NewFile(path, room: bytes.count, sparing: inputs)
    try file.write(bytes)
    try file.finish()
  }

  private func failure() -> InputError {
    InputError(.unwritable, path, expected: "room to write it", found: systemMessage())
  }

  private static func refusal(_ path: String, _ found: String, _ advice: String = "") -> InputError {
    InputError(.unwritable, path, expected: "a file that can be written", found: found, advice: advice)
  }
}

/// A folder by its descriptor: it stays the same one, whatever becomes of its path.
final class OpenFolder {
  let descriptor: Int32

  /// nil, and `errno`, if it cannot be opened.
  init?(_ path: String) {
    // Not the property: closing it would change errno.
    let opened = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if opened < 0 { return nil }
    descriptor = opened
  }

  deinit { close(descriptor) }

  /// Names in it are on the disk when this returns, where there is such a thing.
  func sync() { fsync(descriptor) }

  /// Removes a partial file that no run holds.
  ///
  /// - Returns: whether there is none any more.
  func removeAbandoned(_ name: String, sparing inputs: [String]) -> Bool {
    let file = openat(descriptor, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
    if file < 0 { return errno == ENOENT }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG, !isAny(of: inputs, status) else {
      return false
    }
    guard flock(file, LOCK_EX | LOCK_NB) == 0, isFile(file, name, in: descriptor) else { return false }
    return unlinkat(descriptor, name, 0) == 0
  }
}
