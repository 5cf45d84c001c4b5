import Dispatch

/// Runs `body` on consecutive ranges that together cover `0 ..< count`, as many at a time as BLAS uses threads.
///
/// For loops over rows whose iterations touch disjoint memory; `body` must not depend on where the ranges are cut.
func inParallel(over count: Int, atLeast grain: Int = 1, _ body: @Sendable (Range<Int>) -> Void) {
  let parts = max(1, min(BLAS.threads, count / max(1, grain)))
  if parts == 1 { return body(0..<count) }
  DispatchQueue.concurrentPerform(iterations: parts) { part in
    body(count * part / parts..<count * (part + 1) / parts)
  }
}

/// A pointer that parallel loops over disjoint rows may share.
struct Shared<Pointee>: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<Pointee>
  init(_ pointer: UnsafeMutablePointer<Pointee>) { self.pointer = pointer }
}
