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
  /// What the run goes on with behind a tap, for a recorder that puts another value in the place of the
  /// one that was recorded.
  ///
  /// - Returns: a matrix of the same shape; nil to change nothing.
  func replacement<Scalar: BLASScalar>(of name: String, _ value: Matrix<Scalar>) throws -> Matrix<Scalar>?
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
  public func replacement<Scalar: BLASScalar>(of name: String, _ value: Matrix<Scalar>) -> Matrix<Scalar>? {
    nil
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
/// A model without a recorder computes the same lines. In a pass of several prompts each has a recorder
/// of its own, which is shown the prompt's rows.
public struct Trace {
  /// One a prompt; none for a run that nobody looks at.
  private let witnesses: [Witness]
  /// How many rows of a tap are each prompt's.
  private var rows: [Int] = []

  /// - Parameter recorder: sees every tap; nil for a run that nobody looks at.
  public init(_ recorder: (any TraceRecorder)? = nil) { self.init(recorder.map { [$0] } ?? []) }

  /// - Parameter recorders: one a prompt, each of which sees every tap of its own.
  public init(_ recorders: [any TraceRecorder]) { witnesses = recorders.map(Witness.init) }

  /// Tells the recorders what comes.
  func begin(_ prompts: [Prompt], _ parameters: Parameters, logitRows: Int?) throws {
    precondition(
      !prompts.isEmpty && (witnesses.isEmpty || witnesses.count == prompts.count), "a recorder a prompt")
    for prompt in prompts {
      precondition((1...prompt.tokens.count).contains(logitRows ?? 1), "logits for 1 to all positions")
    }
    for (witness, prompt) in zip(witnesses, prompts) {
      let shape = prompt.shape(patchSize: parameters.vision.patchSize)
      let taps = parameters.taps(
        images: shape.images, tokens: shape.tokens.count, logitRows: logitRows ?? shape.tokens.count)
      try witness.recorder.begin(shape, taps: taps)
    }
  }

  /// The same, for taps of which so many rows are each prompt's.
  func dividing(rows: [Int]) -> Trace {
    var trace = self
    trace.rows = rows
    return trace
  }

  func callAsFunction<Scalar: BLASScalar>(_ tap: ModelTap, _ value: Matrix<Scalar>) throws -> Matrix<Scalar> {
    try show(tap.rawValue, value)
  }

  private func show<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) throws -> Matrix<Scalar> {
    let replacements = try forEachPrompt { witness, rows in
      try witness.record(name, value.rows(rows))
    }
    guard replacements.contains(where: { $0.value != nil }) else { return value }
    return Matrix(joining: replacements.map { $0.value ?? value.rows($0.rows) })
  }

  /// Shows something to those who look on at it, a prompt after the other; a prompt without rows has no
  /// such tap.
  ///
  /// - Throws: `TraceEnd` when no recorder needs anything more.
  private func forEachPrompt<Result>(
    _ body: (Witness, Range<Int>) throws -> Result
  ) throws -> [(rows: Range<Int>, value: Result)] {
    let shown = try zip(witnesses, segments(of: rows)).filter { !$1.isEmpty }.map { witness, rows in
      (rows, try body(witness, rows))
    }
    try endIfNobodyLooksOn()
    return shown
  }

  private func endIfNobodyLooksOn() throws {
    if !witnesses.isEmpty, witnesses.allSatisfy(\.hasEnded) { throw TraceEnd() }
  }

  /// Shows to the recorder of one prompt what becomes of one of its images.
  func image(_ n: Int, ofPrompt prompt: Int) -> Image {
    Image(trace: self, witness: witnesses.isEmpty ? nil : witnesses[prompt], n: n)
  }

  struct Image {
    fileprivate let trace: Trace
    fileprivate let witness: Witness?
    fileprivate let n: Int

    func callAsFunction(_ pixels: Pixels) throws -> Pixels {
      try witness?.record(pixels, ofImage: n)
      return pixels
    }

    /// An image as it was decoded, one row a pixel row: made a matrix only for a recorder that wants
    /// it.
    func rgb(_ image: RGBImage) throws -> RGBImage {
      try record("image.\(n).rgb") {
        Matrix(rows: image.height, columns: image.width * 3, values: image.samples.map(Float.init))
      }
      return image
    }

    /// An image as it was stretched, one row a pixel row: made a matrix only for a recorder that
    /// wants it.
    func resized(_ image: StretchedImage) throws -> StretchedImage {
      try record("image.\(n).resized") {
        Matrix(rows: image.height, columns: image.width * 3, values: image.samples)
      }
      return image
    }

    private func record(_ name: String, _ make: () -> Matrix<Float>) throws {
      guard let witness, witness.wants(name) else { return }
      _ = try witness.record(name, make())
      try trace.endIfNobodyLooksOn()
    }
  }

  /// The trace of one layer, whose taps stand under a prefix such as `vision.layers.3`.
  func layer(_ prefix: String) -> Layer { Layer(trace: self, prefix: prefix) }

  struct Layer {
    fileprivate let trace: Trace
    fileprivate let prefix: String

    func callAsFunction<Scalar: BLASScalar>(
      _ tap: LayerTap, _ value: Matrix<Scalar>
    ) throws -> Matrix<Scalar> {
      try trace.show("\(prefix).\(tap.rawValue)", value)
    }

    /// The maps of attention, (n, heads · m) a prompt, made only for a recorder that wants one of them.
    func maps<Scalar: BLASScalar>(
      of q: Matrix<Scalar>, _ k: Matrix<Scalar>, heads: Heads, _ view: View<Scalar>
    ) throws {
      let (scores, weights) = (
        "\(prefix).\(LayerTap.scores.rawValue)", "\(prefix).\(LayerTap.weights.rawValue)"
      )
      _ = try trace.forEachPrompt { witness, rows in
        guard witness.wants(scores) || witness.wants(weights) else { return }
        let own = view.segments.filter(rows.overlaps).map {
          $0.lowerBound - rows.lowerBound..<$0.upperBound - rows.lowerBound
        }
        // Behind a cache, where there is one prompt alone, there are more keys than queries.
        let keys = rows.lowerBound..<rows.upperBound + k.rows - q.rows
        let maps = attentionMaps(q.rows(rows), k.rows(keys), heads: heads, segments: own, causal: view.causal)
        if witness.wants(scores) { _ = try witness.record(scores, maps.scores) }
        if witness.wants(weights) { _ = try witness.record(weights, maps.weights) }
      }
    }
  }
}

/// The recorder of a prompt, until it has seen enough.
private final class Witness {
  let recorder: any TraceRecorder
  private(set) var hasEnded = false

  init(_ recorder: any TraceRecorder) { self.recorder = recorder }

  func wants(_ name: String) -> Bool { !hasEnded && recorder.wants(name) }

  /// - Returns: what the recorder puts in the place of the value.
  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) throws -> Matrix<Scalar>? {
    if hasEnded { return nil }
    do {
      try recorder.record(name, value)
      return try recorder.replacement(of: name, value)
    } catch is TraceEnd {
      hasEnded = true
      return nil
    }
  }

  func record(_ pixels: Pixels, ofImage n: Int) throws {
    if !hasEnded { try recorder.record(pixels, ofImage: n) }
  }
}
