import Glibc

/// Removes a file when the process is told to stop, so that an interrupted run leaves nothing
/// half-written.
enum Cleanup {
  nonisolated(unsafe) private static var path: UnsafeMutablePointer<CChar>?

  static func removeOnInterrupt(_ file: String) {
    path = strdup(file)
    var signals = sigset_t()
    sigemptyset(&signals)
    for number in [SIGINT, SIGTERM, SIGHUP] {
      sigaddset(&signals, number)
      signal(number) { number in
        if let path = Cleanup.path { unlink(path) }
        _exit(128 + number)
      }
    }
    // Whoever started the program may have had them blocked, as threads of a pool have.
    pthread_sigmask(SIG_UNBLOCK, &signals, nil)
  }
}
