import Foundation
import Synchronization
import Testing

@testable import PixtralServer

@Suite("Lanes")
struct LaneTests {
  /// Keeps a lane busy until it is opened.
  final class Gate: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)
    func wait() { semaphore.wait() }
    func open() { semaphore.signal() }
  }

  let gate = Gate()

  /// A lane that is busy, and what it is busy with.
  private func busyLane(places: Int) async throws -> (
    lane: Lane, events: AsyncThrowingStream<String, any Error>, job: Lane.Job
  ) {
    let lane = Lane("test", places: places)
    let gate = gate
    let (events, job) = try lane.events { (job, say: (String) -> Void) in
      say("began")
      gate.wait()
      try job.check()
      say("ended")
    }
    for try await event in events where event == "began" { break }
    return (lane, events, job)
  }

  @Test("Work is done in the order of asking")
  func order() async throws {
    let (lane, _, _) = try await busyLane(places: 8)
    let done = Mutex<[Int]>([])
    let all = try (0..<8).map { n in try lane.events { _, say in say(done.withLock { $0.append(n) }) }.events
    }
    gate.open()
    for events in all { for try await _ in events {} }
    #expect(done.withLock { $0 } == Array(0..<8))
  }

  @Test("More work than there are places is refused at once")
  func full() async throws {
    let (lane, _, _) = try await busyLane(places: 1)
    let waiting = try lane.events { _, say in say(1) }
    #expect(throws: Lane.Full.self) { try lane.events { _, say in say(2) } }
    gate.open()
    for try await value in waiting.events { #expect(value == 1) }
  }

  @Test("Without a place to wait the first is done all the same")
  func noPlaces() async throws {
    let lane = Lane("test", places: 0)
    #expect(try await lane.run { _ in 5 } == 5)
    #expect(try await lane.run { _ in 6 } == 6)
  }

  @Test("Work that waits and is left makes room, and is never done")
  func leavingWaiting() async throws {
    let (lane, _, _) = try await busyLane(places: 1)
    let isDone = Mutex(false)
    let (left, job) = try lane.events { _, say in say(isDone.withLock { $0 = true }) }
    lane.leave(job)
    await #expect(throws: CancellationError.self) { for try await _ in left {} }
    let next = try lane.events { _, say in say(3) }
    gate.open()
    for try await value in next.events { #expect(value == 3) }
    #expect(!isDone.withLock { $0 })
  }

  @Test("Work that is being done learns that it is left")
  func leavingBusy() async throws {
    let (lane, events, job) = try await busyLane(places: 1)
    lane.leave(job)
    gate.open()
    await #expect(throws: CancellationError.self) { for try await _ in events {} }
  }

  @Test("Who ends listening leaves")
  func listeningEnds() async throws {
    var (lane, events, job): (Lane, AsyncThrowingStream<String, any Error>?, Lane.Job) =
      try await busyLane(places: 1)
    _ = events
    events = nil
    #expect(throws: CancellationError.self) { try job.check() }
    gate.open()
    #expect(try await lane.run { _ in 1 } == 1)
  }

  @Test("A lane that is stopped ends what it is doing and refuses the rest")
  func stop() async throws {
    let (lane, events, _) = try await busyLane(places: 4)
    let waiting = try lane.events { _, say in say(1) }
    lane.stop()
    await #expect(throws: Lane.Stopped.self) { for try await _ in waiting.events {} }
    #expect(throws: Lane.Stopped.self) { try lane.events { _, say in say(2) } }
    gate.open()
    await lane.finish()
    var said: [String] = []
    for try await event in events { said.append(event) }
    #expect(said == ["ended"])
  }

  @Test("What work throws comes to who asked for it")
  func throwing() async throws {
    struct Fault: Error {}
    let lane = Lane("test", places: 1)
    await #expect(throws: Fault.self) { try await lane.run { _ in throw Fault() } }
  }
}
