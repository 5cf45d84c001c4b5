import Glibc
import PixtralStorage

/// Whether the library multiplies right on this machine. Builds of OpenBLAS have had kernels that do not,
/// on processors newer than they are, and nothing in the run would show it.
///
/// Products of small integers are exact in either precision, in whatever order they are summed: one that
/// differs from a plain loop is wrong. Their shapes reach the whole tiles of a kernel (up to 16 by 16 or
/// 24 by 8), every kind of rest beside them, the kernels for small products and those for others.
enum BLASCheck {
  typealias Product<Scalar> = (
    _ m: Int, _ n: Int, _ k: Int, _ alpha: Scalar,
    _ a: UnsafePointer<Scalar>, _ aStride: Int,
    _ b: UnsafePointer<Scalar>, _ bStride: Int, _ bTransposed: Bool,
    _ c: UnsafeMutablePointer<Scalar>, _ cStride: Int, _ adding: Bool
  ) -> Void

  /// A value of a product that is not what it is.
  struct Mistake: Equatable {
    let m: Int
    let n: Int
    let k: Int
    let row: Int
    let column: Int
    let expected: Double
    let found: Double
  }

  static let shapes = [
    (m: 1, n: 1, k: 1), (2, 3, 5), (7, 5, 3), (8, 8, 8), (1, 67, 17), (67, 1, 33), (16, 16, 16), (17, 9, 13),
    (24, 8, 32), (33, 31, 29), (5, 48, 64), (64, 33, 1), (101, 103, 98),
  ]

  /// The first wrong value of the products of one precision; nil if all are right.
  static func mistake<Scalar: BLASScalar>(in product: Product<Scalar> = Scalar.gemm) -> Mistake? {
    for (m, n, k) in shapes {
      // Values from −8 to 8, other ones in every row: sums stay below 2¹⁴.
      let a = (0..<m * k).map { Int32(($0 * 7919 + $0 / k) % 17 - 8) }
      let b = (0..<n * k).map { Int32(($0 * 6101 + $0 / k) % 17 - 8) }  // (n, k)
      var expected = [Int32](repeating: 0, count: m * n)
      for row in 0..<m {
        for column in 0..<n {
          var sum: Int32 = 0
          for i in 0..<k { sum &+= a[row * k + i] &* b[column * k + i] }
          expected[row * n + column] = sum
        }
      }
      // The ways that a run multiplies: a weight's first columns, its others, scores, contexts.
      for (bTransposed, alpha, adding) in [
        (true, 1, false), (true, 1, true), (true, 0.5, false), (false, 1, false),
      ] as [(Bool, Scalar, Bool)] {
        let stored = bTransposed ? b : (0..<k * n).map { b[$0 % n * k + $0 / n] }  // (n, k) or (k, n)
        // A row is longer than what is written of it, and nothing behind it may be touched.
        var found = [Scalar](repeating: 99, count: m * (n + 1))
        product(
          m, n, k, alpha, a.map { Scalar($0) }, k, stored.map { Scalar($0) }, bTransposed ? k : n,
          bTransposed, &found, n + 1, adding)
        for place in 0..<m * (n + 1) {
          let (row, column) = (place / (n + 1), place % (n + 1))
          let right = column == n ? 99 : alpha * Scalar(expected[row * n + column]) + (adding ? 99 : 0)
          if found[place] != right {
            return Mistake(
              m: m, n: n, k: k, row: row, column: column, expected: Double(right), found: Double(found[place])
            )
          }
        }
      }
    }
    return nil
  }
}

extension BLAS {
  /// - Throws: `InputError` of kind `wrongLibrary` if a product is wrong in either precision.
  static func check() throws {
    func refuse(_ expected: String, _ found: String) -> InputError {
      InputError(
        .wrongLibrary, "\(version) for the core \(core)", expected: expected, found: found,
        advice:
          "choose another core's kernels, such as OPENBLAS_CORETYPE=Haswell, or another version of OpenBLAS")
    }
    let illegal = refuse("instructions that this processor has", "one that it lacks")
    let precisions = LastWords.said(if: SIGILL, "Error: \(illegal)\n") {
      [("float32", BLASCheck.mistake(in: Float.gemm)), ("float64", BLASCheck.mistake(in: Double.gemm))]
    }
    for case (let precision, let mistake?) in precisions {
      throw refuse(
        "\(mistake.expected) at [\(mistake.row), \(mistake.column)] of a \(precision) product of "
          + "[\(mistake.m), \(mistake.k)] and [\(mistake.k), \(mistake.n)]", "\(mistake.found)")
    }
  }
}

/// A sentence in the place of a crash: kernels for another core stop the process at the first instruction
/// that the processor lacks, and no error can be thrown from there.
enum LastWords {
  nonisolated(unsafe) private static var words: UnsafeBufferPointer<UInt8>?

  /// Runs something. A signal that would end the process meanwhile ends it with exit code 2, after these
  /// words on standard error.
  static func said<Result>(if number: Int32, _ text: String, _ body: () -> Result) -> Result {
    let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: text.utf8.count)
    _ = copy.initialize(from: text.utf8)
    words = UnsafeBufferPointer(copy)
    var before = sigaction()
    var action = sigaction()
    // It may do no more than this.
    action.__sigaction_handler.sa_handler = { _ in
      if let words = LastWords.words { write(STDERR_FILENO, words.baseAddress, words.count) }
      _exit(2)
    }
    sigaction(number, &action, &before)
    defer {
      sigaction(number, &before, nil)
      words = nil
      copy.deallocate()
    }
    return body()
  }
}
