import PixtralImage

/// Takes the taps of a run as they are computed.
public protocol TraceRecorder: AnyObject {
  /// Told once, before anything is computed, what the run is about.
  ///
  /// - Parameters:
  ///   - prompt: tokens and the shapes of images.
  ///   - taps: every tap of the run with its shape, in the order of computation, those on demand too.
  /// - Throws: `InputError` to refuse the run.
  func begin(_ prompt: PromptShape, taps: [PlannedTap]) throws
  /// Whether a tap that costs extra to produce is wanted.
  func wants(_ name: String) -> Bool
  /// Gets every tap in the order of computation, wanted or not; one on demand only if wanted.
  ///
  /// - Throws: `TraceEnd` when nothing after this tap is needed; `InputError` if it cannot be
  ///   stored.
  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) throws
  /// What the run goes on with behind a tap: the value that was recorded, but for a recorder that puts
  /// another in its place.
  func goingOn<Scalar: BLASScalar>(_ name: String, from value: Matrix<Scalar>) throws -> Matrix<Scalar>
  /// Gets the pixels of every image of a prompt in its order, before the first tap of the model.
  ///
  /// - Throws: `InputError` if they cannot be stored.
  func record(_ pixels: Pixels, ofImage n: Int) throws
}

extension TraceRecorder {
  /// Takes every run.
  public func begin(_ prompt: PromptShape, taps: [PlannedTap]) throws {}
  /// Wants nothing that costs extra.
  public func wants(_ name: String) -> Bool { false }
  /// Changes nothing.
  public func goingOn<Scalar: BLASScalar>(_ name: String, from value: Matrix<Scalar>) -> Matrix<Scalar> {
    value
  }
  /// Lets pixels be.
  public func record(_ pixels: Pixels, ofImage n: Int) throws {}
}

/// The run has reached the last tap that was asked for. The call that computes ends with it, thrown
/// on to whoever made the call.
public struct TraceEnd: Error {
  /// To be thrown by `TraceRecorder.record`.
  public init() {}
}

/// Shows a value to the recorder and returns it: `let q = try trace(.q, linear(x, wq))` is
/// `linear(x, wq)`.
///
/// A model without a recorder computes the same lines.
public struct Trace {
  let recorder: (any TraceRecorder)?

  /// - Parameter recorder: sees every tap; nil for a run that nobody looks at.
  public init(_ recorder: (any TraceRecorder)? = nil) { self.recorder = recorder }

  /// Tells the recorder what comes.
  func begin(_ prompt: PromptShape, _ parameters: Parameters, logitRows: Int?) throws {
    precondition((1...prompt.tokens.count).contains(logitRows ?? 1), "logits for 1 to all positions")
    let taps = parameters.taps(
      images: prompt.images, tokens: prompt.tokens.count, logitRows: logitRows ?? prompt.tokens.count)
    try recorder?.begin(prompt, taps: taps)
  }

  func callAsFunction<Scalar: BLASScalar>(_ tap: ModelTap, _ value: Matrix<Scalar>) throws -> Matrix<Scalar> {
    guard let recorder else { return value }
    try recorder.record(tap.rawValue, value)
    return try recorder.goingOn(tap.rawValue, from: value)
  }

  func callAsFunction(_ pixels: Pixels, ofImage n: Int) throws -> Pixels {
    try recorder?.record(pixels, ofImage: n)
    return pixels
  }

  /// An image as it was decoded, one row a pixel row: made a matrix only for a recorder that wants
  /// it.
  func rgb(_ image: RGBImage, ofImage n: Int) throws {
    try record("image.\(n).rgb") {
      Matrix(rows: image.height, columns: image.width * 3, values: image.samples.map(Float.init))
    }
  }

  /// An image as it was stretched, one row a pixel row: made a matrix only for a recorder that
  /// wants it.
  func resized(_ image: StretchedImage, ofImage n: Int) throws {
    try record("image.\(n).resized") {
      Matrix(rows: image.height, columns: image.width * 3, values: image.samples)
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

    func callAsFunction<Scalar: BLASScalar>(
      _ tap: LayerTap, _ value: Matrix<Scalar>
    ) throws -> Matrix<Scalar> {
      // Nobody but a recorder that wants it gets a tap on demand.
      guard let recorder, !tap.onDemand || wants(tap) else { return value }
      try recorder.record("\(prefix).\(tap.rawValue)", value)
      return try recorder.goingOn("\(prefix).\(tap.rawValue)", from: value)
    }

    func wants(_ tap: LayerTap) -> Bool { recorder?.wants("\(prefix).\(tap.rawValue)") ?? false }
  }
}
