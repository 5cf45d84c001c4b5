import PixtralImage
import PixtralText

/// Pixtral: a chat request with photos, to the logits of what comes next.
///
/// This page is the whole story, one call an arrow; each callee is a file of its own, in the folder
/// of its stage.
///
///     request ── loadImages ──▶ images ── grid ──▶ grids ── V7Template ──▶ tokens
///                                  └── stretched, normalised ──▶ pixels        │
///     pixels ── patches ──▶ VisionEncoder ──▶ features ── Adapter ──▶ image rows
///     tokens and image rows ── splicedEmbeddings ──▶ Decoder ──▶ logits
///
/// Nothing here chooses a precision: `Pixtral<Float>` and `Pixtral<Double>` compute the same lines.
/// Call `BLAS.begin()` once before the first run.
public struct Pixtral<Scalar: BLASScalar>: Sendable {
  /// Parameters and weights.
  public let checkpoint: Checkpoint

  /// The model that a checkpoint is.
  public init(_ checkpoint: Checkpoint) { self.checkpoint = checkpoint }

  /// A request to logits.
  ///
  /// - Parameters:
  ///   - request: messages with their images.
  ///   - tokenizer: encodes the texts of the request.
  ///   - loader: how its images are read.
  ///   - logitRows: how many of the last positions get logits; nil for all.
  ///   - trace: sees every activation.
  /// - Returns: (logitRows, vocab_size).
  /// - Throws: `InputError` for a request that cannot be rendered or an image that cannot be read,
  ///   before anything is computed; what the trace's recorder throws.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func callAsFunction(
    _ request: ChatRequest, tokenizer: Tokenizer, images loader: ImageLoader = ImageLoader(),
    logitRows: Int? = nil, trace: Trace = Trace()
  ) throws -> Matrix<Scalar> {
    let rule = checkpoint.parameters.imageRule
    let images = request.loadImages(loader)  // request → sizes
    if !images.isEmpty { try checkpoint.checkImageTokens() }
    let grids = images.map { image in image.map { rule.grid($0.size) } }  // sizes → patches
    let rendered = try V7Template(tokenizer: tokenizer)(request, grids: grids)  // request, grids → tokens

    // From here on the images are in the order of their tokens.
    let pictures = try rendered.images.map { number in try (images[number].get(), grids[number].get()) }
    let shape = PromptShape(rendered.tokens, pictures.map { ($0.size, $1) }, patchSize: rule.patchSize)
    try shape.check(against: checkpoint.parameters)
    return try run(shape, logitRows, trace) { n in
      let (image, grid) = pictures[n]
      return try normalised(image.rgb(), n, grid, trace)  // RGB → (3, rows · p, columns · p)
    }
  }

  /// Tokens and pixels, made elsewhere, to logits.
  ///
  /// - Parameters:
  ///   - prompt: tokens and pixels.
  ///   - logitRows: how many of the last positions get logits; nil for all.
  ///   - trace: sees every activation.
  /// - Returns: (logitRows, vocab_size).
  /// - Throws: `InputError` if tokens and pixels do not fit one another or the model; what the
  ///   trace's recorder throws.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func callAsFunction(
    _ prompt: Prompt, logitRows: Int? = nil, trace: Trace = Trace()
  ) throws -> Matrix<Scalar> {
    try prompt.check(against: checkpoint.parameters)
    return try run(prompt.shape(patchSize: checkpoint.parameters.vision.patchSize), logitRows, trace) {
      prompt.images[$0].pixels
    }
  }

  /// The n-th image of a prompt to what the vision encoder takes.
  private func normalised(_ image: RGBImage, _ n: Int, _ grid: PatchGrid, _ trace: Trace) throws -> Pixels {
    try trace.rgb(image, ofImage: n)
    let stretched = image.stretched(to: grid, patchSize: checkpoint.parameters.vision.patchSize)
    try trace.resized(stretched, ofImage: n)
    return Pixels(normalising: stretched)
  }

  private func run(
    _ prompt: PromptShape, _ logitRows: Int?, _ trace: Trace, pixels: (Int) throws -> Pixels
  ) throws -> Matrix<Scalar> {
    try trace.begin(prompt, checkpoint.parameters, logitRows: logitRows)
    let decoder = Decoder<Scalar>(checkpoint: checkpoint)
    return try decoder(embed(prompt, trace, pixels), logitRows: logitRows, trace: trace)  // (T, dim) → (T, V)
  }

  /// Tokens and pixels to the decoder's input: (T, dim).
  private func embed(
    _ prompt: PromptShape, _ trace: Trace, _ pixels: (Int) throws -> Pixels
  ) throws -> Matrix<Scalar> {
    let visionEncoder = VisionEncoder<Scalar>(checkpoint: checkpoint)
    let adapter = Adapter<Scalar>(checkpoint: checkpoint)

    var imageRows: Matrix<Scalar>?
    if !prompt.images.isEmpty {
      let grids = prompt.images.map(\.grid)
      let patches: Matrix<Scalar> = try flattenedPatches(of: grids, patchSize: prompt.patchSize) { n in
        try trace(pixels(n), ofImage: n)
      }  // (P, 3·p·p)
      let features = try visionEncoder(patches, grids: grids, trace: trace)  // (P, hidden_size)
      imageRows = try adapter(features, trace: trace)  // (P, dim)
    }
    return try trace(
      .embeddings, splicedEmbeddings(prompt.tokens, imageRows: imageRows, checkpoint: checkpoint))
  }
}

// MARK: - A prompt in parts

extension Pixtral {
  /// The decoder's input for a whole prompt, images encoded: what `logits(_:cache:)` takes, a part
  /// at a time.
  ///
  /// - Returns: (tokens, dim).
  /// - Throws: `InputError` if tokens and pixels do not fit one another or the model.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func embeddings(of prompt: Prompt) throws -> Matrix<Scalar> {
    try prompt.check(against: checkpoint.parameters)
    let shape = prompt.shape(patchSize: checkpoint.parameters.vision.patchSize)
    return try embed(shape, Trace()) { prompt.images[$0].pixels }
  }

  /// The next rows of a prompt to logits, through a cache that holds the keys and values of those
  /// before them.
  ///
  /// - Parameters:
  ///   - rows: embeddings of the next tokens: (n, dim).
  ///   - cache: what the parts before have left; this part is added to it.
  /// - Returns: (n, vocab_size).
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func logits(_ rows: Matrix<Scalar>, cache: KeyValueCache<Scalar>) throws -> Matrix<Scalar> {
    try Decoder<Scalar>(checkpoint: checkpoint)(rows, cache: cache, trace: Trace())
  }
}
