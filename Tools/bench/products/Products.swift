import CValues
import Dispatch
import Foundation
import PixtralReference

/// What `bench_weights.py` needs to know of this machine: how fast weights are made, and how long the
/// products of the decoder take with weights that cost nothing.
///
///     products values
///     products ROWS LAYERS
///
/// Prints JSON. `OPENBLAS_CORETYPE` and the like hold as for a run.
@main
enum Products {
  static func main() throws {
    try BLAS.begin()
    let arguments = CommandLine.arguments.dropFirst()
    let found: [String: Any]
    if arguments.first == "values" {
      found = values()
    } else {
      let numbers = arguments.compactMap { Int($0) }
      guard numbers.count == 2 else { fatalError("usage: products values | ROWS LAYERS") }
      let (seconds, processor) = try products(rows: numbers[0], layers: numbers[1])
      found = [
        "core": BLAS.core, "threads": BLAS.threads, "seconds": seconds, "processor_seconds": processor,
      ]
    }
    let text = try JSONSerialization.data(withJSONObject: found, options: .sortedKeys)
    print(String(decoding: text, as: UTF8.self))
  }
}

/// Values that one thread makes in a second, by Swift's loops and by those of C: a block that stays in the
/// caches, again and again.
private func values() -> [String: Any] {
  let count = 1 << 18
  let out = UnsafeMutablePointer<Float>.allocate(capacity: count)
  let stored = UnsafeMutableRawPointer.allocate(byteCount: 2 * count, alignment: 64)
  defer {
    out.deallocate()
    stored.deallocate()
  }
  memset(stored, 0x3f, 2 * count)
  let seeded = SeededValues(seed: 1, name: "bench", offset: 0, scale: 0.03)
  func rate(_ make: () -> Void) -> Double { Double(count) / (0..<400).map { _ in seconds(make) }.min()! }
  return [
    "seeded": [
      "swift": rate { for i in 0..<count { out[i] = seeded[UInt32(i)] } },
      "c": rate { seeded.fill(0, count, out) },
    ],
    "f16": [
      "swift": rate {
        for i in 0..<count {
          out[i] = Float(Float16(bitPattern: stored.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)))
        }
      },
      "c": rate { widen_float16(stored, count, out) },
    ],
  ]
}

/// Seconds of the products of some decoder layers of seeded:pixtral-large with `rows` tokens, cut as `linear`
/// cuts them; every block of every weight is the same one. On the clock, and of the processors.
private func products(rows: Int, layers: Int) throws -> (Double, Double) {
  let weights = try Checkpoint("seeded:pixtral-large").tensors
    .filter { $0.name.hasPrefix("layers.0.") && $0.shape.count == 2 }
  precondition(weights.count == 7, "a decoder layer has seven matrices")
  let widest = weights.map { max($0.rows, $0.columns) }.max()!
  let x = Memory(rows * widest, 0.5)
  let out = Memory(rows * widest, 0)
  let blocks = (0..<BLAS.threads).map { _ in Memory(WeightBlock.rows * WeightBlock.columns, 0.25) }
  func layer() {
    for weight in weights {
      let (height, width) = (weight.rows, weight.columns)
      DispatchQueue.concurrentPerform(iterations: BLAS.threads) { thread in
        let step = WeightBlock.rows
        for first in stride(from: thread * step, to: height, by: BLAS.threads * step) {
          for start in stride(from: 0, to: width, by: WeightBlock.columns) {
            let k = min(WeightBlock.columns, width - start)
            Float.gemm(
              m: rows, n: min(step, height - first), k: k, alpha: 1,
              a: x.start + start, aStride: width, b: blocks[thread].start, bStride: k, bTransposed: true,
              c: out.start + first, cStride: height, adding: start > 0)
          }
        }
      }
    }
  }
  layer()
  let start = clock()
  let onTheClock = seconds { for _ in 0..<layers { layer() } }
  return (onTheClock, Double(clock() - start) / Double(CLOCKS_PER_SEC))
}

/// Floats that threads share, each writing its own.
private struct Memory: @unchecked Sendable {
  let start: UnsafeMutablePointer<Float>

  /// Kept as long as the process.
  init(_ count: Int, _ value: Float) {
    start = .allocate(capacity: count)
    start.initialize(repeating: value, count: count)
  }
}

private func seconds(_ body: () -> Void) -> Double {
  ContinuousClock().measure(body) / .seconds(1)
}
