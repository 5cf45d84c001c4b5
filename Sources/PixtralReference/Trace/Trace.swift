/// Takes the taps of a run as they are computed.
public protocol TraceRecorder: AnyObject {
  /// Whether a tap that costs extra to produce is wanted.
  func wants(_ name: String) -> Bool
  /// Gets every tap in the order of computation, wanted or not.
  ///
  /// - Throws: `TraceEnd` when nothing after this tap is needed; `InputError` if it cannot be stored.
  func record<Scalar: Real>(_ name: String, _ value: Matrix<Scalar>) throws
}

/// The run has reached the last tap that was asked for.
public struct TraceEnd: Error {
  public init() {}
}

/// A labelled identity: `let q = try trace(.q, linear(x, wq))` is `linear(x, wq)`, and the recorder has seen it.
///
/// A model without a recorder computes the same lines.
public struct Trace: Sendable {
  nonisolated(unsafe) let recorder: (any TraceRecorder)?

  public init(_ recorder: (any TraceRecorder)? = nil) { self.recorder = recorder }

  func callAsFunction<Scalar: Real>(_ tap: ModelTap, _ value: Matrix<Scalar>) throws -> Matrix<Scalar> {
    try recorder?.record(tap.rawValue, value)
    return value
  }

  /// The pictures of a request, as decoded and as stretched; made only for a recorder that wants them.
  func images(_ sources: [RGBImage], rule: ImageRule) throws {
    for (n, image) in sources.enumerated() {
      let grid = rule.grid(width: image.width, height: image.height)
      let (width, height) = (grid.columns * rule.patchSize, grid.rows * rule.patchSize)
      try record("image.\(n).rgb") {
        Matrix(rows: image.height, columns: image.width * 3, values: image.samples.map(Float.init))
      }
      try record("image.\(n).resized") {
        let pixels = cubicResize(image, width: width, height: height)
        return Matrix(rows: height, columns: width * 3, values: pixels.flatMap { [$0.x, $0.y, $0.z] })
      }
    }
  }

  private func record(_ name: String, _ make: () -> Matrix<Float>) throws {
    guard let recorder, recorder.wants(name) else { return }
    try recorder.record(name, make())
  }

  /// The trace of one layer, whose taps stand under a prefix such as `vision.layers.3`.
  func layer(_ prefix: String) -> Layer { Layer(recorder: recorder, prefix: prefix) }

  struct Layer {
    let recorder: (any TraceRecorder)?
    let prefix: String

    func callAsFunction<Scalar: Real>(_ tap: LayerTap, _ value: Matrix<Scalar>) throws -> Matrix<Scalar> {
      try recorder?.record("\(prefix).\(tap.rawValue)", value)
      return value
    }

    func wants(_ tap: LayerTap) -> Bool { recorder?.wants("\(prefix).\(tap.rawValue)") ?? false }
  }
}
