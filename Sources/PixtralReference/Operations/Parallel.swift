import CMalloc
import COpenBLAS
import Dispatch
import Synchronization

/// Runs `body` on consecutive ranges that together cover `0 ..< count`, on as many threads as OpenBLAS was given.
///
/// Threads take the next range as they become free. `body` must touch disjoint memory for disjoint ranges, and its results must
/// not depend on which thread runs it.
///
/// This is the only place where work is divided. OpenBLAS itself runs each product on the thread that asks for it: its own threads would
/// wait for work by spinning, on the cores that the loops between two products need.
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

/// What OpenBLAS decided on this machine. Bits differ with it, so a trace records it.
public enum BLAS {
  public static var version: String {
    let words = String(cString: openblas_get_config()).split(separator: " ")
    return words.prefix(2).joined(separator: " ")
  }

  public static var core: String { String(cString: openblas_get_corename()) }

  /// Threads that a run uses: what OpenBLAS would use, by the machine's cores or `OPENBLAS_NUM_THREADS`.
  public static let threads: Int = {
    defer {
      openblas_set_num_threads(1)
      // Matrices come and go: let the allocator keep their memory rather than fetch and clear new pages for each.
      mallopt(M_MMAP_THRESHOLD, 1 << 30)
      mallopt(M_TRIM_THRESHOLD, 1 << 30)
    }
    return Int(openblas_get_num_threads())
  }()
}

/// A pointer that threads working on disjoint parts may share.
struct Shared<Pointee>: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<Pointee>

  init(_ pointer: UnsafeMutablePointer<Pointee>) { self.pointer = pointer }

  /// For memory that is only read.
  init(reading pointer: UnsafePointer<Pointee>) { self.pointer = UnsafeMutablePointer(mutating: pointer) }
}
