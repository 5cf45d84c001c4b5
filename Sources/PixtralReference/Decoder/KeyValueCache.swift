/// The rotated keys and the values of the tokens that the decoder has seen, layer by layer.
///
/// With it a prompt can be computed in parts, and an answer a token at a time: each part attends to
/// the keys of the parts before it, which are computed once.
public final class KeyValueCache<Scalar: BLASScalar> {
  final class Layer {
    // (tokens seen, key-value heads · d)
    private var keys: Matrix<Scalar>?
    private var values: Matrix<Scalar>?

    /// Adds the keys and values of a part, and gives those of all tokens so far.
    ///
    /// They are added in place: what was given before is no longer held by then.
    func append(_ k: Matrix<Scalar>, _ v: Matrix<Scalar>) -> (Matrix<Scalar>, Matrix<Scalar>) {
      if keys == nil {
        (keys, values) = (k, v)
      } else {
        keys!.append(k)
        values!.append(v)
      }
      return (keys!, values!)
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
