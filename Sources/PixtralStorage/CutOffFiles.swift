import Glibc
import Synchronization

/// Ends the process in words when a mapped file becomes shorter: whoever reads what is no longer
/// there is sent SIGBUS, wherever it is.
package enum CutOffFiles {
  /// The mapped files, by where they begin.
  private static let files = Mutex<[UInt: (count: Int, path: String)]>([:])

  static func add(_ bytes: UnsafeRawBufferPointer, of path: String) {
    guard let start = bytes.baseAddress else { return }
    files.withLock { $0[UInt(bitPattern: start)] = (bytes.count, path) }
  }

  static func remove(_ bytes: UnsafeRawBufferPointer) {
    files.withLock { $0[UInt(bitPattern: bytes.baseAddress)] = nil }
  }

  static func error(_ path: String) -> InputError {
    unreadable(path, "one that became shorter while it was read, or that a disk has lost a part of")
  }

  /// - end: ends the process, from a thread of its own.
  package static func watch(_ end: @escaping @Sendable (InputError) -> Never) {
    // A handler may do next to nothing. It wakes a thread, which may do anything.
    sem_init(struck, 0, 0)
    onStrike = end
    var thread = pthread_t()
    let failure = pthread_create(
      &thread, nil,
      { _ in
        while sem_wait(CutOffFiles.struck) != 0 {}
        CutOffFiles.report()
      }, nil)
    // Without memory for a thread the signal ends the process as it does everywhere.
    guard failure == 0 else { return }

    var action = sigaction()
    action.sa_flags = SA_SIGINFO
    action.__sigaction_handler.sa_sigaction = { _, info, _ in
      CutOffFiles.address.store(
        UInt(bitPattern: info?.pointee._sifields._sigfault.si_addr), ordering: .releasing)
      sem_post(CutOffFiles.struck)
      while true { pause() }
    }
    sigaction(SIGBUS, &action, nil)
  }

  nonisolated(unsafe) private static let struck = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
  nonisolated(unsafe) private static var onStrike: (@Sendable (InputError) -> Never)?
  private static let address = Atomic<UInt>(0)

  private static func report() -> Never {
    let address = address.load(ordering: .acquiring)
    let file = files.withLock { files in
      files.first { address >= $0.key && address < $0.key + UInt($0.value.count) }?.value.path
    }
    if let file, let onStrike { onStrike(error(file)) }
    signal(SIGBUS, SIG_DFL)
    kill(getpid(), SIGBUS)
    while true { pause() }
  }
}
