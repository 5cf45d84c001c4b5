import COpenBLAS
import Glibc

/// The arithmetic of a run: `Float` or `Double`. The same lines of the model compute in either.
public protocol BLASScalar: BinaryFloatingPoint, Sendable {
  /// `e^x`.
  static func exp(_ x: Self) -> Self
  /// The error function.
  static func erf(_ x: Self) -> Self

  /// `c = alpha · a · b`, or `alpha · a · bᵀ`, or that added to c: a is (m, k), c is (m, n); each
  /// row-major with its own row stride.
  static func gemm(
    m: Int, n: Int, k: Int, alpha: Self,
    a: UnsafePointer<Self>, aStride: Int,
    b: UnsafePointer<Self>, bStride: Int, bTransposed: Bool,
    c: UnsafeMutablePointer<Self>, cStride: Int, adding: Bool)
}

/// Writes `a · b` to `out`.
func multiply<Scalar: BLASScalar>(
  _ a: Block<Scalar>, _ b: Block<Scalar>, into out: Region<Scalar>
) {
  precondition(a.columns == b.rows && out.rows == a.rows && out.columns == b.columns, "shapes of a product")
  gemm(1, a, b, bTransposed: false, adding: false, into: out)
}

/// Writes `alpha · a · bᵀ` to `out`, or adds it to what is there.
func multiply<Scalar: BLASScalar>(
  _ a: Block<Scalar>, transposed b: Block<Scalar>, times alpha: Scalar = 1, adding: Bool = false,
  into out: Region<Scalar>
) {
  precondition(a.columns == b.columns && out.rows == a.rows && out.columns == b.rows, "shapes of a product")
  gemm(alpha, a, b, bTransposed: true, adding: adding, into: out)
}

private func gemm<Scalar: BLASScalar>(
  _ alpha: Scalar, _ a: Block<Scalar>, _ b: Block<Scalar>, bTransposed: Bool, adding: Bool,
  into out: Region<Scalar>
) {
  a.values.withUnsafeBufferPointer { aValues in
    b.values.withUnsafeBufferPointer { bValues in
      Scalar.gemm(
        m: out.rows, n: out.columns, k: a.columns, alpha: alpha,
        a: aValues.baseAddress! + a.start, aStride: a.stride,
        b: bValues.baseAddress! + b.start, bStride: b.stride, bTransposed: bTransposed,
        c: out.start, cStride: out.stride, adding: adding)
    }
  }
}

extension Float: BLASScalar {
  @inline(__always)
  public static func exp(_ x: Float) -> Float { exponential(x) }
  public static func erf(_ x: Float) -> Float { erff(x) }

  public static func gemm(
    m: Int, n: Int, k: Int, alpha: Float,
    a: UnsafePointer<Float>, aStride: Int,
    b: UnsafePointer<Float>, bStride: Int, bTransposed: Bool,
    c: UnsafeMutablePointer<Float>, cStride: Int, adding: Bool
  ) {
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, bTransposed ? CblasTrans : CblasNoTrans, blasint(m), blasint(n),
      blasint(k),
      alpha, a, blasint(aStride), b, blasint(bStride), adding ? 1 : 0, c, blasint(cStride))
  }
}

extension Double: BLASScalar {
  public static func exp(_ x: Double) -> Double { Glibc.exp(x) }
  public static func erf(_ x: Double) -> Double { Glibc.erf(x) }

  public static func gemm(
    m: Int, n: Int, k: Int, alpha: Double,
    a: UnsafePointer<Double>, aStride: Int,
    b: UnsafePointer<Double>, bStride: Int, bTransposed: Bool,
    c: UnsafeMutablePointer<Double>, cStride: Int, adding: Bool
  ) {
    cblas_dgemm(
      CblasRowMajor, CblasNoTrans, bTransposed ? CblasTrans : CblasNoTrans, blasint(m), blasint(n),
      blasint(k),
      alpha, a, blasint(aStride), b, blasint(bStride), adding ? 1 : 0, c, blasint(cStride))
  }
}

/// What OpenBLAS decided on this machine. Bits differ with it, so a trace records it.
public enum BLAS {
  /// The library's name and version.
  public static var version: String {
    let words = String(cString: openblas_get_config()).split(separator: " ")
    return words.prefix(2).joined(separator: " ")
  }

  /// The processor that its kernels are for; `OPENBLAS_CORETYPE` chooses another.
  public static var core: String { String(cString: openblas_get_corename()) }

  /// Threads that a run uses: what OpenBLAS would use, by the machine's cores or
  /// `OPENBLAS_NUM_THREADS`.
  public static let threads = Int(openblas_get_num_threads())

  /// Tells OpenBLAS to compute each product on the thread that asks for it, for the whole process, and
  /// makes sure that it multiplies right. Call it once, before the first run.
  ///
  /// A run divides its work itself (`inParallel`). OpenBLAS's own threads would wait for work by
  /// spinning, on the cores that the loops between two products need.
  ///
  /// - Throws: `InputError` of kind `wrongLibrary`, after a few milliseconds, if a product is wrong.
  public static func begin() throws {
    _ = threads  // before it is changed
    openblas_set_num_threads(1)
    try check()
  }
}
