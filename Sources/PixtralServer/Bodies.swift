import CLinux
import Hummingbird
import NIOCore
import NIOPosix
import ServiceLifecycle
import Synchronization

/// Reads the bodies of requests, in bounded memory and time.
struct Bodies: Sendable {
  /// The most bytes of one.
  let limit: Int
  /// How long one may take to come.
  let patience: Duration
  /// Of all requests that are there at once.
  let memory: Memory

  /// - limit: the most bytes of a body; four times as many are held of all at once.
  init(limit: Int, patience: Duration) {
    (self.limit, self.patience) = (limit, patience)
    memory = Memory(limit: 4 * limit)
  }

  /// The bytes of a body.
  ///
  /// - held: counts them.
  /// - goOn: called where the client waits for that before it sends them.
  /// - Throws: `Refusal` for one that is too large or too slow, or if too much is held already.
  func read(_ request: Request, _ held: Memory.Share, goOn: () -> Void) async throws -> ByteBuffer {
    // Who says beforehand how much comes has room for it, or is refused; else all might come half-way.
    let length = request.headers[.contentLength].flatMap { Int($0) }
    guard length ?? 0 <= limit else { throw Refusal.largeBody(limit: limit) }
    try held.add(length ?? 0)
    if request.headers[.expect]?.lowercased() == "100-continue" { goOn() }
    return try await within(patience, orThrow: Refusal.slowBody(patience)) {
      var bytes = ByteBuffer()
      do {
        for try await part in request.body {
          guard bytes.readableBytes + part.readableBytes <= limit else {
            throw Refusal.largeBody(limit: limit)
          }
          if length == nil { try held.add(part.readableBytes) }
          bytes.writeImmutableBuffer(part)
        }
      } catch let error where !(error is Refusal || error is CancellationError) {
        throw Refusal.brokenBody(error)
      }
      return bytes
    }
  }
}

/// How many bytes of bodies and images requests hold.
final class Memory: Sendable {
  private let limit: Int
  private let held = Mutex(0)

  init(limit: Int) { self.limit = limit }

  /// What one request holds, as long as this is there.
  final class Share: Sendable {
    private let memory: Memory
    private let bytes = Mutex(0)

    init(of memory: Memory) { self.memory = memory }

    /// - Throws: `Refusal` if that is more than all may hold together, or more than one ever could.
    func add(_ count: Int) throws {
      guard bytes.withLock({ $0 }) + count <= memory.limit else {
        throw Refusal.largeBody(limit: memory.limit)
      }
      try memory.held.withLock { held in
        guard held + count <= memory.limit else {
          throw Refusal.busy("bodies: expected at most \(memory.limit) bytes of all requests, found more")
        }
        held += count
      }
      bytes.withLock { $0 += count }
    }

    deinit {
      let count = bytes.withLock { $0 }
      memory.held.withLock { $0 -= count }
      // What a large request has left between smaller things goes back to the system.
      if count > 1 << 20 { malloc_trim(0) }
    }
  }
}

/// Does something within a time.
///
/// - Throws: what it throws; `late` once the time is over; `Refusal` once the server waits for nothing more.
func within<Value: Sendable>(
  _ time: Duration, orThrow late: any Error, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
  try await withThrowingTaskGroup(of: Value.self) { group in
    group.addTask { try await body() }
    group.addTask {
      // A `Task.sleep` that is cancelled keeps a kilobyte until its time has come all the same.
      let timer = MultiThreadedEventLoopGroup.singleton.next().scheduleTask(in: TimeAmount(time)) {}
      try await withTaskCancellationHandler {
        try await timer.futureResult.get()
      } onCancel: {
        timer.cancel()
      }
      throw late
    }
    group.addTask {
      try await gracefulShutdown()
      throw Refusal.stopping
    }
    defer { group.cancelAll() }
    return try await group.next()!
  }
}
