import PixtralStorage

/// The arithmetic of a run, chosen by name.
package enum Precision: String, Sendable, CaseIterable {
  case float32, float64

  /// How its activations are stored.
  package var dtype: DType { self == .float32 ? .f32 : .f64 }
}
