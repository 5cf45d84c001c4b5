import Glibc
import PixtralStorage
import Testing

@testable import PixtralReference

/// The check of the library, with libraries that multiply wrong.
@Suite("The check of OpenBLAS")
struct BLASCheckTests {
  /// A plain product of which `spoil` changes values.
  private func product<Scalar: BLASScalar>(
    _ spoil: @escaping (_ m: Int, _ n: Int, _ k: Int, _ row: Int, _ column: Int, _ sum: Scalar) -> Scalar
  ) -> BLASCheck.Product<Scalar> {
    { m, n, k, alpha, a, aStride, b, bStride, bTransposed, c, cStride, adding in
      for row in 0..<m {
        for column in 0..<n {
          var sum: Scalar = 0
          for i in 0..<k {
            sum += a[row * aStride + i] * (bTransposed ? b[column * bStride + i] : b[i * bStride + column])
          }
          let product = alpha * spoil(m, n, k, row, column, sum)
          c[row * cStride + column] = adding ? c[row * cStride + column] + product : product
        }
      }
    }
  }

  @Test("This machine's library and a plain product pass")
  func right() throws {
    try BLAS.check()
    #expect(BLASCheck.mistake(in: product { (_, _, _, _, _, sum: Float) in sum }) == nil)
    #expect(BLASCheck.mistake(in: product { (_, _, _, _, _, sum: Double) in sum }) == nil)
  }

  @Test("A wrong value in any tile or rest of a product is found, in either precision")
  func wrong() {
    // By which of the values of a tile of 16 by 16 are wrong.
    for (rows, columns) in [(0, 0), (15, 3), (7, 15), (3, 8)] {
      let single = BLASCheck.mistake(
        in: product { (_, _, _, row, column, sum: Float) in
          row % 16 == rows && column % 16 == columns ? sum + 1 : sum
        })
      #expect(single != nil)
      let double = BLASCheck.mistake(
        in: product { (_, _, _, row, column, sum: Double) in
          row % 16 == rows && column % 16 == columns ? sum + 1 : sum
        })
      #expect(double?.row == single?.row && double?.column == single?.column)
    }
  }

  @Test("A last row, column or term that is left out is found")
  func rests() {
    #expect(
      BLASCheck.mistake(in: product { m, n, _, row, _, sum in row == m - 1 && n > 60 ? 0 : sum as Float })
        != nil)
    #expect(
      BLASCheck.mistake(
        in: product { m, n, _, _, column, sum in column == n - 1 && m > 60 ? 0 : sum as Float }) != nil)
    #expect(BLASCheck.mistake(in: product { _, _, k, _, _, sum in k == 98 ? sum - 1 : sum as Double }) != nil)
  }

  @Test("A product that is written where it is to be added, or added where it is to be written, is found")
  func adding() {
    let right: BLASCheck.Product<Double> = product { _, _, _, _, _, sum in sum }
    for always in [true, false] {
      let wrong: BLASCheck.Product<Double> = {
        m, n, k, alpha, a, aStride, b, bStride, bTransposed, c, cStride, _ in
        right(m, n, k, alpha, a, aStride, b, bStride, bTransposed, c, cStride, always)
      }
      #expect(BLASCheck.mistake(in: wrong) != nil)
    }
  }

  @Test("A value written behind a row is found")
  func behind() {
    let right: BLASCheck.Product<Float> = product { _, _, _, _, _, sum in sum }
    let wrong: BLASCheck.Product<Float> = {
      m, n, k, alpha, a, aStride, b, bStride, bTransposed, c, cStride, adding in
      right(m, n, k, alpha, a, aStride, b, bStride, bTransposed, c, cStride, adding)
      c[n] = 0
    }
    #expect(BLASCheck.mistake(in: wrong)?.column == 1)
  }

  @Test("Kernels with an instruction that the processor lacks end in a sentence and exit code 2")
  func illegalInstruction() async throws {
    let result = try await #require(
      processExitsWith: .exitCode(2), observing: [\.standardErrorContent]
    ) {
      LastWords.said(if: SIGILL, "Error: a sentence\n") { _ = raise(SIGILL) }
    }
    #expect(String(decoding: result.standardErrorContent, as: UTF8.self).hasSuffix("Error: a sentence\n"))
  }

  @Test("What is caught during the check is as before behind it")
  func restored() async {
    await #expect(processExitsWith: .signal(SIGILL)) {
      signal(SIGILL, SIG_DFL)
      LastWords.said(if: SIGILL, "") {}
      raise(SIGILL)
    }
  }
}
