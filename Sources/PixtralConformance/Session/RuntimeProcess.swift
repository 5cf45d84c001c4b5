import Glibc
import PixtralStorage

/// A runtime as a process: a line to its standard input, a line from its standard output.
///
/// An answer has a deadline, whatever the process does meanwhile: reads nothing, writes without end, is
/// dead while a child of it holds the pipe. That is why all three pipes are polled here, and no library
/// waits for their ends.
final class RuntimeProcess {
  /// Why there is no answer. The process is then gone.
  enum Failure: Error, Equatable {
    /// How it ended: `exit code 3`, `signal 11`.
    case ended(String)
    case timedOut
    case tooLong
  }

  /// The longest answer, a hundred times the longest right one; tensors are in files. Each of several sessions
  /// may have one in memory, as a tree of thirty times that.
  private static let longestLine = 1 << 20
  private static let keptErrors = 1 << 14

  private let process: pid_t
  private let input: Int32
  private let output: Int32
  private let errors: Int32
  private var hasErrorsLeft = true
  private var isOver = false
  /// As `waitpid` has it, once it is over.
  private var status: Int32 = 0
  /// What came behind the last answer.
  private var unread: [UInt8] = []
  /// The end of what it wrote to standard error.
  private var errorBytes: [UInt8] = []

  /// - command: for a shell.
  /// - Throws: `InputError` of kind `unreadableFile` if no process can be made.
  init(_ command: String) throws {
    // Who writes to a process that is gone must hear of it, and go on.
    signal(SIGPIPE, SIG_IGN)
    func pipe() throws -> (read: Int32, write: Int32) {
      var ends: [Int32] = [0, 0]
      guard Glibc.pipe(&ends) == 0 else {
        throw InputError(
          .unreadableFile, command, expected: "a runtime that can be started", found: systemMessage())
      }
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      return (ends[0], ends[1])
    }
    let (input, output, errors) = (try pipe(), try pipe(), try pipe())
    (self.input, self.output, self.errors) = (input.write, output.read, errors.read)
    for end in [input.write, output.read, errors.read] {
      _ = fcntl(end, F_SETFL, fcntl(end, F_GETFL) | O_NONBLOCK)
    }

    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (end, place) in [
      (input.read, STDIN_FILENO), (output.write, STDOUT_FILENO), (errors.write, STDERR_FILENO),
    ] {
      posix_spawn_file_actions_adddup2(&actions, end, place)
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // A group of its own, so that its children end with it.
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF))
    var usual = sigset_t()
    sigemptyset(&usual)
    sigaddset(&usual, SIGPIPE)
    posix_spawnattr_setsigdefault(&attributes, &usual)

    var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("sh"), strdup("-c"), strdup(command), nil]
    defer { for argument in arguments { free(argument) } }
    var process = pid_t()
    let code = posix_spawn(&process, "/bin/sh", &actions, &attributes, &arguments, environ)
    for end in [input.read, output.write, errors.write] { close(end) }
    self.process = process
    guard code == 0 else {
      isOver = true
      throw InputError(
        .unreadableFile, command, expected: "a runtime that can be started", found: systemMessage(code))
    }
    StartedProcesses.begin(group: process)
  }

  deinit {
    stop()
    for end in [input, output, errors] { close(end) }
  }

  /// What it has said on standard error, its last lines.
  var lastWords: String {
    let text = String(decoding: errorBytes, as: UTF8.self)
    return text.split(separator: "\n").suffix(5).joined(separator: "\n")
  }

  /// Sends a line and waits for one.
  ///
  /// - line: with its end.
  /// - Returns: the answer without its end.
  func ask(_ line: [UInt8], within seconds: Double) throws(Failure) -> [UInt8] {
    let deadline = ContinuousClock.now + .seconds(seconds)
    var sent = 0
    var searched = 0
    while true {
      if let end = unread[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        let answer = Array(unread[..<end])
        unread.removeSubrange(...end)
        return answer
      }
      searched = unread.count
      if unread.count > Self.longestLine { throw give(up: .tooLong) }
      let left = ContinuousClock.now.duration(to: deadline)
      if left <= .zero { throw give(up: .timedOut) }
      var polled = [
        pollfd(fd: output, events: Int16(POLLIN), revents: 0),
        pollfd(fd: hasErrorsLeft ? errors : -1, events: Int16(POLLIN), revents: 0),
        pollfd(fd: sent < line.count ? input : -1, events: Int16(POLLOUT), revents: 0),
      ]
      let ready = poll(&polled, 3, Int32(min(100, left / .milliseconds(1) + 1)))
      // One that has ended says nothing more, though a child of it may hold the pipe.
      if ready == 0, hasEnded() { throw give(up: .ended(end())) }
      if polled[1].revents != 0 { keepErrors() }
      if polled[2].revents != 0 {
        let count = line[sent...].withUnsafeBytes { write(input, $0.baseAddress!, $0.count) }
        // One that no longer reads may still have answered.
        sent = count >= 0 ? sent + count : errno == EAGAIN || errno == EINTR ? sent : line.count
      }
      if polled[0].revents != 0, !readOutput() { throw give(up: .ended(end())) }
    }
  }

  /// - Returns: false at the end.
  private func readOutput() -> Bool {
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = read(output, &bytes, bytes.count)
    if count > 0 { unread += bytes[..<count] }
    return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR))
  }

  private func keepErrors() {
    var bytes = [UInt8](repeating: 0, count: 1 << 14)
    let count = read(errors, &bytes, bytes.count)
    if count > 0 { errorBytes = (errorBytes + bytes[..<count]).suffix(Self.keptErrors) }
    // One that is closed would be reported for ever.
    if count == 0 { hasErrorsLeft = false }
  }

  /// How the process has ended, which has closed its output; it is given a moment to.
  private func end() -> String {
    for _ in 0..<100 {
      keepErrors()
      if hasEnded() {
        let signal = status & 0x7f
        return signal == 0 ? "exit code \(status >> 8 & 0xff)" : "signal \(signal)"
      }
      usleep(10_000)
    }
    return "its output closed"
  }

  private func hasEnded() -> Bool {
    isOver = isOver || waitpid(process, &status, WNOHANG) == process
    return isOver
  }

  private func give(up failure: Failure) -> Failure {
    stop()
    keepErrors()
    return failure
  }

  private func stop() {
    // Of a group that is gone nothing is left to stop; children of one that ended may be.
    kill(-process, SIGKILL)
    StartedProcesses.end(group: process)
    if !hasEnded() {
      waitpid(process, &status, 0)
      isOver = true
    }
  }
}
