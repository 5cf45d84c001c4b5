/// The rotated keys and the values of the tokens that the decoder has seen, layer by layer.
///
/// With it a prompt can be computed in parts: each part attends to the keys of the parts before it.
public final class KeyValueCache<Scalar: BLASScalar> {
  final class Layer {
    private var keys: Matrix<Scalar>?  // (tokens seen, key-value heads · d)
    private var values: Matrix<Scalar>?

    /// Adds the keys and values of a part, and gives those of all tokens so far.
    func append(_ k: Matrix<Scalar>, _ v: Matrix<Scalar>) -> (Matrix<Scalar>, Matrix<Scalar>) {
      func joined(_ seen: Matrix<Scalar>?, _ next: Matrix<Scalar>) -> Matrix<Scalar> {
        seen.map { Matrix(joining: [$0, next]) } ?? next
      }
      let all = (joined(keys, k), joined(values, v))
      (keys, values) = all
      return all
    }
  }

  let layers: [Layer]
  /// Tokens seen so far.
  public internal(set) var count = 0

  /// An empty cache, for a decoder of these parameters.
  public init(for parameters: Parameters) {
    layers = (0..<parameters.layers).map { _ in Layer() }
  }
}
