import Glibc
import Synchronization

/// The bytes of a file, which are in memory only while they are looked at; or all that comes
/// through a pipe.
package final class MappedFile: @unchecked Sendable {
  package let path: String
  /// The bytes, there as long as this object: `withBytes` is for whoever does not keep it.
  package let bytes: UnsafeRawBufferPointer
  private let home: Home
  private let device: dev_t
  private let inode: ino_t

  /// Where the bytes are: on disk, in memory of this object, or in memory of the process.
  private enum Home { case disk, memory, kept }

  /// What has come through descriptors of the process, which can be read but once.
  private static let streams = Mutex<[Int32: KeptBytes]>([:])

  private struct KeptBytes: @unchecked Sendable {
    let bytes: UnsafeRawBufferPointer
  }

  /// Opens what a user names: a file, a pipe or a terminal, whose bytes are read to their end.
  ///
  /// - path: `-` is standard input; `/dev/fd/3` is the descriptor 3 of this process, a socket even.
  /// - Throws: `InputError` of kind `unreadableFile`.
  package convenience init(_ path: String) throws(InputError) { try self.init(path, mayBeStream: true) }

  /// Opens a plain file; for names that come out of a file, which must not make a process wait.
  ///
  /// - Throws: `InputError` of kind `unreadableFile`.
  package convenience init(plain path: String) throws(InputError) { try self.init(path, mayBeStream: false) }

  /// Opens a plain file below a folder.
  ///
  /// - Throws: `InputError` of kind `unreadableFile`; also where a step of the path leads out of the folder,
  ///   be it through a link: then nothing is told of what is there.
  package convenience init(_ path: String, below folder: FileTree) throws(InputError) {
    let descriptor = try folder.open(path)
    defer { close(descriptor) }
    try self.init(path, descriptor, mayBeStream: false)
  }

  private convenience init(_ path: String, mayBeStream: Bool) throws(InputError) {
    let inherited = mayBeStream ? Self.descriptor(named: path) : nil
    if let inherited {
      let mode = fcntl(inherited, F_GETFL)
      guard mode >= 0, mode & O_ACCMODE != O_WRONLY else {
        let name = inherited == STDIN_FILENO ? "standard input" : "descriptor \(inherited)"
        throw unreadable(
          path, "\(name), which is closed or only for writing", "give the file's name, or send it with < or |"
        )
      }
    }
    // Without O_NONBLOCK a pipe would be waited for.
    let descriptor =
      inherited.map { fcntl($0, F_DUPFD_CLOEXEC, 0) } ?? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw unreadable(path, systemMessage()) }
    defer { close(descriptor) }
    try self.init(path, descriptor, mayBeStream: mayBeStream, inherited: inherited)
  }

  /// - inherited: the descriptor of this process that was named.
  private init(
    _ path: String, _ descriptor: Int32, mayBeStream: Bool, inherited: Int32? = nil
  ) throws(InputError) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw unreadable(path, systemMessage()) }
    self.path = path
    (device, inode) = (status.st_dev, status.st_ino)

    // Who has given a descriptor may have read from it already.
    if status.st_mode & S_IFMT == S_IFREG && lseek(descriptor, 0, SEEK_CUR) == 0 {
      home = .disk
      bytes = try Self.map(descriptor, Int(status.st_size), path)
      CutOffFiles.add(bytes, of: path)
    } else {
      let isFolder = status.st_mode & S_IFMT == S_IFDIR
      guard mayBeStream else {
        throw unreadable(path, isFolder ? "a folder" : "something that is no plain file")
      }
      let stream = Stream(
        descriptor: descriptor, path: path, kind: status.st_mode & S_IFMT, isOpened: inherited == nil)
      if let inherited {
        home = .kept
        bytes = try Self.kept(inherited, stream)
      } else {
        home = .memory
        bytes = try stream.readToEnd()
      }
    }
  }

  /// The descriptor of this process that a path is a name of.
  package static func descriptor(named path: String) -> Int32? {
    if path == "-" || path == "/dev/stdin" { return STDIN_FILENO }
    let folder = ["/dev/fd/", "/proc/self/fd/"].first { path.hasPrefix($0) }
    return folder.flatMap { Int32(path.dropFirst($0.count)) }
  }

  private static func map(
    _ descriptor: Int32, _ count: Int, _ path: String
  ) throws(InputError) -> UnsafeRawBufferPointer {
    if count == 0 { return UnsafeRawBufferPointer(start: nil, count: 0) }
    guard let start = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
      throw unreadable(path, systemMessage())
    }
    return UnsafeRawBufferPointer(start: start, count: count)
  }

  /// What comes through a descriptor of the process, or has come.
  private static func kept(_ number: Int32, _ stream: Stream) throws(InputError) -> UnsafeRawBufferPointer {
    try streams.withLock { streams throws(InputError) in
      if let kept = streams[number] { return kept.bytes }
      let bytes = try stream.readToEnd()
      streams[number] = KeptBytes(bytes: bytes)
      return bytes
    }
  }

  deinit {
    guard let start = UnsafeMutableRawPointer(mutating: bytes.baseAddress) else { return }
    switch home {
    case .disk:
      CutOffFiles.remove(bytes)
      munmap(start, bytes.count)
    case .memory: free(start)
    case .kept: break
    }
  }

  /// Calls a function with the file's bytes, which stay where they are until it returns.
  package func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    defer { extendLifetime(self) }
    return try body(bytes)
  }

  /// Gives the memory of a range back; the bytes are read from the file again when next looked at.
  package func forget(_ range: Range<Int>) {
    let page = Int(getpagesize())
    let first = (range.lowerBound + page - 1) / page * page
    let end = range.upperBound / page * page
    guard home == .disk, first < end, let start = bytes.baseAddress else { return }
    madvise(UnsafeMutableRawPointer(mutating: start + first), end - first, MADV_DONTNEED)
  }

  /// Makes sure that the file has not become shorter. What a page has lost reads as zeros: only
  /// whole pages are missed by the system (`CutOffFiles`).
  ///
  /// - Throws: `InputError` of kind `unreadableFile`.
  package func checkWhole() throws(InputError) {
    var status = stat()
    // Another file under the name does no harm to this one.
    guard home == .disk, stat(path, &status) == 0, status.st_dev == device, status.st_ino == inode else {
      return
    }
    guard status.st_size >= bytes.count else { throw CutOffFiles.error(path) }
  }
}

func unreadable(_ path: String, _ found: String, _ advice: String = "") -> InputError {
  InputError(.unreadableFile, path, expected: "a readable file", found: found, advice: advice)
}

/// Something open that has no size: a pipe, a socket, a terminal.
private struct Stream {
  let descriptor: Int32
  let path: String
  /// What it is, as `stat` has it.
  let kind: mode_t
  /// Whether it was opened here, by name: then a pipe may not have a writer yet.
  let isOpened: Bool

  /// More than this must come from a file, which takes no memory.
  private static let limit = 1 << 30

  /// All bytes to the end, in memory from `malloc`.
  func readToEnd() throws(InputError) -> UnsafeRawBufferPointer {
    switch kind {
    case S_IFDIR: throw unreadable(path, "a folder")
    case S_IFBLK: throw unreadable(path, "a device")
    // Others may have no end.
    case S_IFCHR where isatty(descriptor) == 0: throw unreadable(path, "a device that is no terminal")
    default: break
    }
    var (start, capacity, count) = (UnsafeMutableRawPointer?.none, 0, 0)
    // A pipe without a writer looks as at its end. It is waited for, but not for ever.
    var waits = kind == S_IFIFO && isOpened ? 500 : 0
    do throws(InputError) {
      while true {
        if count == capacity {
          guard capacity < Self.limit else {
            throw unreadable(path, "more than 1 GiB from what is no plain file", "write it to a file first")
          }
          capacity = max(1 << 16, capacity * 2)
          guard let larger = realloc(start, capacity) else { throw unreadable(path, systemMessage()) }
          start = larger
        }
        let added = read(descriptor, start! + count, capacity - count)
        if added > 0 {
          count += added
        } else if added == 0 {
          if count > 0 || waits == 0 { return UnsafeRawBufferPointer(start: start, count: count) }
          waits -= 1
          if waits == 0 { throw unreadable(path, "a pipe that nothing writes to") }
          usleep(10_000)
        } else if errno == EAGAIN {
          // There is a writer; or whoever has given the descriptor does not want it to block.
          waits = 0
          var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
          poll(&waiting, 1, -1)
        } else if errno != EINTR {
          throw unreadable(path, systemMessage())
        }
      }
    } catch {
      free(start)
      throw error
    }
  }
}
