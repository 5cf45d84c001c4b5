import COpenBLAS
import Glibc

/// The arithmetic of a run: `Float` or `Double`. The same lines of the model compute in either.
public protocol Real: BinaryFloatingPoint, SIMDScalar, Codable, Sendable {
  /// Name in traces: `float32` or `float64`.
  static var precisionName: String { get }

  static func exp(_ x: Self) -> Self
  static func erf(_ x: Self) -> Self

  /// `c = alpha · a · b`, or `alpha · a · bᵀ`: a is (m, k), c is (m, n); each row-major with its own row stride.
  static func multiply(
    m: Int, n: Int, k: Int, alpha: Self,
    a: UnsafePointer<Self>, aStride: Int,
    b: UnsafePointer<Self>, bStride: Int, bTransposed: Bool,
    c: UnsafeMutablePointer<Self>, cStride: Int)
}

extension Real {
  /// The same with matrices that begin inside larger ones.
  static func multiply(
    m: Int, n: Int, k: Int, alpha: Self,
    a: [Self], aStart: Int = 0, aStride: Int,
    b: [Self], bStart: Int = 0, bStride: Int, bTransposed: Bool,
    c: UnsafeMutablePointer<Self>, cStride: Int
  ) {
    precondition(m == 0 || aStart + (m - 1) * aStride + k <= a.count, "a ends inside its matrix")
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        multiply(
          m: m, n: n, k: k, alpha: alpha, a: a.baseAddress! + aStart, aStride: aStride,
          b: b.baseAddress! + bStart, bStride: bStride, bTransposed: bTransposed, c: c, cStride: cStride)
      }
    }
  }
}

extension Float: Real {
  public static var precisionName: String { "float32" }
  @inline(__always)
  public static func exp(_ x: Float) -> Float { exponential(x) }
  public static func erf(_ x: Float) -> Float { erff(x) }

  public static func multiply(
    m: Int, n: Int, k: Int, alpha: Float,
    a: UnsafePointer<Float>, aStride: Int,
    b: UnsafePointer<Float>, bStride: Int, bTransposed: Bool,
    c: UnsafeMutablePointer<Float>, cStride: Int
  ) {
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, bTransposed ? CblasTrans : CblasNoTrans, blasint(m), blasint(n), blasint(k),
      alpha, a, blasint(aStride), b, blasint(bStride), 0, c, blasint(cStride))
  }
}

extension Double: Real {
  public static var precisionName: String { "float64" }
  public static func exp(_ x: Double) -> Double { Glibc.exp(x) }
  public static func erf(_ x: Double) -> Double { Glibc.erf(x) }

  public static func multiply(
    m: Int, n: Int, k: Int, alpha: Double,
    a: UnsafePointer<Double>, aStride: Int,
    b: UnsafePointer<Double>, bStride: Int, bTransposed: Bool,
    c: UnsafeMutablePointer<Double>, cStride: Int
  ) {
    cblas_dgemm(
      CblasRowMajor, CblasNoTrans, bTransposed ? CblasTrans : CblasNoTrans, blasint(m), blasint(n), blasint(k),
      alpha, a, blasint(aStride), b, blasint(bStride), 0, c, blasint(cStride))
  }
}
