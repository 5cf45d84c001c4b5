import Foundation
import Synchronization

/// Does one piece of work after another, in the order of asking, on a thread of its own: work that takes
/// seconds has no place among the threads that serve connections.
final class Lane: Sendable {
  /// As much work waits as may.
  struct Full: Error {}
  /// No more work is done.
  struct Stopped: Error {}

  /// A piece of work that waits or is being done.
  final class Job: Sendable {
    private let isLeft = Atomic(false)
    fileprivate let work: @Sendable (Job) -> Void
    fileprivate let refuse: @Sendable (any Error) -> Void

    fileprivate init(
      _ work: @escaping @Sendable (Job) -> Void, refuse: @escaping @Sendable (any Error) -> Void
    ) { (self.work, self.refuse) = (work, refuse) }

    fileprivate func leave() { isLeft.store(true, ordering: .relaxed) }

    /// - Throws: `CancellationError` if nobody waits for what comes of it any more.
    func check() throws { if isLeft.load(ordering: .relaxed) { throw CancellationError() } }
  }

  private struct State {
    var waiting: [Job] = []
    var isBusy = false
    var isStopped = false
    /// Who wants to know when no work is left.
    var ends: [CheckedContinuation<Void, Never>] = []
  }

  private let places: Int
  private let state = Mutex(State())
  private let entered = DispatchSemaphore(value: 0)

  /// - places: how much work may wait beside what is being done.
  init(_ name: String, places: Int) {
    self.places = places
    let thread = Thread { [self] in while doNext() {} }
    thread.name = name
    // Values inside values are read by a function that calls itself.
    thread.stackSize = 16 << 20
    thread.start()
  }

  /// Enters work that says what happens as it happens. Who ends listening leaves the job.
  ///
  /// - work: gets the job, and what to say events with; what it throws comes behind them.
  /// - Throws: `Full` or `Stopped`, at once.
  func events<Event: Sendable>(
    of work: @escaping @Sendable (Job, (Event) -> Void) throws -> Void
  ) throws -> (events: AsyncThrowingStream<Event, any Error>, job: Job) {
    let (stream, listener) = AsyncThrowingStream<Event, any Error>.makeStream()
    let job = Job { job in
      listener.finish(throwing: Result { try work(job) { listener.yield($0) } }.failure)
    } refuse: {
      listener.finish(throwing: $0)
    }
    listener.onTermination = { [weak self, weak job] _ in if let job { self?.leave(job) } }
    try enter(job)
    return (stream, job)
  }

  /// Does a piece of work.
  ///
  /// - Returns: what comes of it.
  /// - Throws: what it throws; `Full`, `Stopped`; `CancellationError` if the task is cancelled.
  func run<Value: Sendable>(_ work: @escaping @Sendable (Job) throws -> Value) async throws -> Value {
    for try await value in try events(of: { job, say in say(try work(job)) }).events { return value }
    throw CancellationError()
  }

  /// Nobody waits for what comes of a job any more: it ends, at once if it still waits, else as soon as it
  /// calls `check`.
  func leave(_ job: Job) {
    job.leave()
    let isWaiting = state.withLock { state in
      let at = state.waiting.firstIndex { $0 === job }
      if let at { state.waiting.remove(at: at) }
      return at != nil
    }
    if isWaiting { job.refuse(CancellationError()) }
  }

  /// Whether no more work is done.
  var isStopped: Bool { state.withLock { $0.isStopped } }

  /// Work that waits is refused, and so is all that comes.
  func stop() {
    let waiting = state.withLock { state in
      defer { state.waiting = [] }
      state.isStopped = true
      return state.waiting
    }
    for job in waiting { job.refuse(Stopped()) }
    entered.signal()
  }

  /// Waits until none is being done.
  func finish() async {
    await withCheckedContinuation { end in
      let isBusy = state.withLock { state in
        if state.isBusy { state.ends.append(end) }
        return state.isBusy
      }
      if !isBusy { end.resume() }
    }
  }

  private func enter(_ job: Job) throws {
    try state.withLock { state in
      if state.isStopped { throw Stopped() }
      // What waits while nothing is being done waits for no more than the thread.
      guard state.waiting.count < places + (state.isBusy ? 0 : 1) else { throw Full() }
      state.waiting.append(job)
    }
    entered.signal()
  }

  /// Waits for a job and does it; or for one that is gone by then.
  ///
  /// - Returns: whether there may be others.
  private func doNext() -> Bool {
    entered.wait()
    let (job, isLast) = state.withLock { state -> (Job?, Bool) in
      guard !state.waiting.isEmpty else { return (nil, state.isStopped) }
      state.isBusy = true
      return (state.waiting.removeFirst(), false)
    }
    guard let job else { return !isLast }
    job.work(job)
    let ends = state.withLock { state in
      defer { state.ends = [] }
      state.isBusy = false
      return state.ends
    }
    for end in ends { end.resume() }
    return true
  }
}

extension Result {
  fileprivate var failure: Failure? { if case .failure(let error) = self { error } else { nil } }
}
