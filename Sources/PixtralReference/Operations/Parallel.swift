import Dispatch
import Synchronization

/// Runs `body` on consecutive ranges that together cover `0 ..< count`, on `BLAS.threads` threads.
/// This is the only place where work is divided.
///
/// Threads take the next range as they become free. `body` must write to different memory for
/// different ranges, and its results must not depend on which thread runs it.
///
/// - step: the length of a range; the last may be shorter.
func inParallel(over count: Int, by step: Int, _ body: @Sendable (Range<Int>) -> Void) {
  let ranges = (count + step - 1) / step
  if ranges <= 1 || BLAS.threads == 1 {
    for start in stride(from: 0, to: count, by: step) { body(start..<min(start + step, count)) }
    return
  }
  let taken = Atomic<Int>(0)
  DispatchQueue.concurrentPerform(iterations: min(BLAS.threads, ranges)) { _ in
    while true {
      let next = taken.add(1, ordering: .relaxed).oldValue
      guard next < ranges else { return }
      body(next * step..<min((next + 1) * step, count))
    }
  }
}
