/// How the values of a tensor that is computed with are stored; the names are safetensors', which has more.
package enum DType: String, Sendable, CaseIterable {
  case bf16 = "BF16"
  case f16 = "F16"
  case f32 = "F32"
  case f64 = "F64"

  /// Bytes of a value.
  package var size: Int {
    switch self {
    case .bf16, .f16: 2
    case .f32: 4
    case .f64: 8
    }
  }
}
