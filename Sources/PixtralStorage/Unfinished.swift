import Glibc
import Synchronization

/// What must not be left behind: files that are not whole yet, and the new folders around them.
///
/// A signal that stops the process removes them first, and so does `exit`. After `kill -9` they
/// stay, and the next run that writes to the place removes them.
enum Unfinished {
  struct Things {
    /// By the descriptor that holds the file's lock.
    var files: [Int32: PartialFile] = [:]
    /// The outermost first.
    var folders: [String] = []
    /// Folders of a run, with all that is in them.
    var temporary: Set<String> = []
    /// Groups of processes that were started.
    var groups: Set<Int32> = []
  }

  struct PartialFile {
    /// A descriptor of its folder.
    let folder: Int32
    let name: String
  }

  private static let things = Mutex(Things())

  /// Makes, names or removes things and notes it, in one step for whoever stops the process: a
  /// signal waits for its end.
  static func change<Result>(_ body: (inout Things) throws -> Result) rethrows -> Result {
    _ = armed
    return try things.withLock { try body(&$0) }
  }

  // MARK: - The end of the process

  private static let armed: Void = {
    atexit { Unfinished.things.withLock { Unfinished.remove($0) } }
    // A write that fails says so; these would stop the process in the midst of it.
    for number in [SIGPIPE, SIGXFSZ] { signal(number, SIG_IGN) }

    // A handler may do next to nothing. It wakes a thread, which may do anything.
    sem_init(awake, 0, 0)
    var thread = pthread_t()
    let failure = pthread_create(
      &thread, nil,
      { _ in
        while sem_wait(Unfinished.awake) != 0 {}
        Unfinished.die(of: Unfinished.received.load(ordering: .acquiring))
      }, nil)
    // Without memory for a thread a signal is as kill -9.
    guard failure == 0 else { return }

    var signals = sigset_t()
    sigemptyset(&signals)
    for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU] {
      // nohup has SIGHUP ignored.
      var before = sigaction()
      sigaction(number, nil, &before)
      let isIgnored = unsafeBitCast(before.__sigaction_handler.sa_handler, to: Int.self) == 1
      if number == SIGHUP && isIgnored { continue }
      sigaddset(&signals, number)
      signal(number) { number in
        Unfinished.received.store(number, ordering: .releasing)
        sem_post(Unfinished.awake)
      }
    }
    // Whoever started the program may have had them blocked, as threads of a pool have.
    pthread_sigmask(SIG_UNBLOCK, &signals, nil)
  }()

  private static let received = Atomic<Int32>(0)
  nonisolated(unsafe) private static let awake = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

  /// Ends the process as the signal would have, so that a shell knows.
  private static func die(of number: Int32) -> Never {
    things.withLock { things in
      remove(things)
      signal(number, SIG_DFL)
      kill(getpid(), number)
      // The lock is kept: nothing is made any more.
      while true { pause() }
    }
  }

  private static func remove(_ things: Things) {
    for (descriptor, file) in things.files where isFile(descriptor, file.name, in: file.folder) {
      unlinkat(file.folder, file.name, 0)
    }
    for folder in things.folders.reversed() { rmdir(folder) }
    for group in things.groups { kill(-group, SIGKILL) }
    for folder in things.temporary { removeAll(folder) }
  }

  /// Removes a folder with all that is in it.
  static func removeAll(_ path: String) {
    // A link goes, and not what it leads to.
    if unlink(path) == 0 { return }
    for name in fileNames(in: path) ?? [] { removeAll("\(path)/\(name)") }
    rmdir(path)
  }
}

/// Whether an open file still has a name in a folder.
func isFile(_ descriptor: Int32, _ name: String, in folder: Int32) -> Bool {
  var (open, named) = (stat(), stat())
  return fstat(descriptor, &open) == 0 && fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0
    && isSame(open, named)
}
