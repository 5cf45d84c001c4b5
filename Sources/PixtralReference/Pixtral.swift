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
/// An answer (`Answer.swift`) begins with the logits of the last position, and goes on a token at a
/// time, through the key-value cache:
///
///     logits ── Sampler ──▶ token ── splicedEmbeddings ──▶ Decoder ──▶ logits ── Sampler ──▶ …
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
  public func callAsFunction(
    _ request: ChatRequest, tokenizer: Tokenizer, images loader: ImageLoader = ImageLoader(),
    logitRows: Int? = nil, trace: Trace = Trace()
  ) throws -> Matrix<Scalar> {
    let prompt = try prompt(of: request, tokenizer: tokenizer, images: loader)
    return try self(prompt, logitRows: logitRows, trace: trace)
  }

  /// A request to tokens and images, which are decoded when their turn comes.
  ///
  /// - Parameters:
  ///   - request: messages with their images.
  ///   - tokenizer: encodes the texts of the request.
  ///   - loader: how its images are read.
  /// - Throws: `InputError` for a request that cannot be rendered or an image that cannot be read.
  public func prompt(
    of request: ChatRequest, tokenizer: Tokenizer, images loader: ImageLoader = ImageLoader()
  ) throws -> Prompt {
    let rule = checkpoint.parameters.imageRule
    let images = request.loadImages(loader)  // request → sizes
    if !images.isEmpty { try checkpoint.checkImageTokens() }
    let grids = images.map { image in image.map { rule.grid($0.size) } }  // sizes → patches
    let rendered = try V7Template(tokenizer: tokenizer)(request, grids: grids)  // request, grids → tokens
    // From here on the images are in the order of their tokens.
    return Prompt(
      tokens: rendered.tokens, images: try rendered.images.map { .sent(try images[$0].get(), rule) })
  }

  /// Tokens and images to logits.
  ///
  /// - Parameters:
  ///   - prompt: tokens and images.
  ///   - logitRows: how many of the last positions get logits; nil for all.
  ///   - trace: sees every activation.
  /// - Returns: (logitRows, vocab_size).
  /// - Throws: `InputError` if tokens and images do not fit one another or the model; what the
  ///   trace's recorder throws.
  public func callAsFunction(
    _ prompt: Prompt, logitRows: Int? = nil, trace: Trace = Trace()
  ) throws -> Matrix<Scalar> {
    try self([prompt], logitRows: logitRows, trace: trace)[0]
  }

  /// Several prompts to logits in one pass of the weights: each block of a weight is read, or made,
  /// once for all.
  ///
  /// The rows of the prompts follow one another in every matrix. Each prompt counts its positions from
  /// 0 and sees nothing of the others, as the images of one prompt do.
  ///
  /// - Parameters:
  ///   - prompts: tokens and images of each.
  ///   - logitRows: how many of the last positions of each get logits; nil for all.
  ///   - trace: sees every activation, each prompt's by a recorder of its own.
  /// - Returns: (logitRows, vocab_size) of each.
  /// - Throws: as for one.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func callAsFunction(
    _ prompts: [Prompt], logitRows: Int? = nil, trace: Trace = Trace()
  ) throws -> [Matrix<Scalar>] {
    for prompt in prompts { try prompt.check(against: checkpoint.parameters) }
    try trace.begin(prompts, checkpoint.parameters, logitRows: logitRows)
    let lengths = prompts.map(\.tokens.count)
    let decoder = Decoder<Scalar>(checkpoint: checkpoint)
    let logits = try decoder(
      embed(prompts, trace), prompts: lengths, logitRows: logitRows, trace: trace)  // (T, dim) → (T, V)
    return segments(of: lengths.map { logitRows ?? $0 }).map(logits.rows)
  }

  /// Tokens and images to the decoder's input: (T, dim).
  private func embed(_ prompts: [Prompt], _ trace: Trace) throws -> Matrix<Scalar> {
    let patchSize = checkpoint.parameters.vision.patchSize
    let visionEncoder = VisionEncoder<Scalar>(checkpoint: checkpoint)
    let adapter = Adapter<Scalar>(checkpoint)

    let images = prompts.enumerated().flatMap { prompt, own in
      own.images.enumerated().map { (image: $1, trace: trace.image($0, ofPrompt: prompt)) }
    }
    var imageRows: Matrix<Scalar>?
    if !images.isEmpty {
      let grids = images.map { $0.image.grid(patchSize: patchSize) }
      let patches: Matrix<Scalar> = try flattenedPatches(of: grids, patchSize: patchSize) { n in
        try images[n].image.pixels(trace: images[n].trace)
      }  // (P, 3·p·p)
      let ofImages = trace.dividing(rows: prompts.map { $0.patches(patchSize: patchSize) })
      let features = try visionEncoder(patches, grids: grids, trace: ofImages)  // (P, hidden_size)
      imageRows = try adapter(features, trace: ofImages)  // (P, dim)
    }
    return try trace.dividing(rows: prompts.map(\.tokens.count))(
      .embeddings,
      splicedEmbeddings(
        prompts.flatMap(\.tokens), imageRows: imageRows, table: checkpoint.tensor("tok_embeddings.weight"),
        imageToken: checkpoint.parameters.vision.imageToken))
  }
}

extension PromptImage {
  /// What the vision encoder takes: (3, rows · p, columns · p).
  ///
  /// - Throws: `InputError` for an image that is no longer what it was; what the trace's recorder
  ///   throws.
  func pixels(trace: Trace.Image) throws -> Pixels {
    switch self {
    case .given(let pixels): return try trace(pixels)
    case .stored(let tensor):
      return try trace(Pixels(height: height, width: width, values: tensor.vector()))
    case .sent(let image, let rule):
      let rgb = try trace.rgb(image.rgb())
      let stretched = try trace.resized(rgb.stretched(to: rule.grid(rgb.size), patchSize: rule.patchSize))
      return try trace(Pixels(normalising: stretched))  // RGB → (3, rows · p, columns · p)
    }
  }
}

// MARK: - What comes next

extension Pixtral {
  /// A prompt to the logits of what comes next, and a cache that holds its keys and values.
  ///
  /// - Parameters:
  ///   - prompt: tokens and images; its images are encoded here, once.
  ///   - cache: an empty one.
  ///   - trace: sees every activation.
  /// - Returns: (1, vocab_size).
  /// - Throws: `InputError` if tokens and images do not fit one another or the model; what the
  ///   trace's recorder throws.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func prefill(
    _ prompt: Prompt, cache: KeyValueCache<Scalar>, trace: Trace = Trace()
  ) throws -> Matrix<Scalar> {
    precondition(cache.count == 0, "an empty cache")
    return try logits(
      embeddings(of: prompt, logitRows: 1, trace: trace), cache: cache, logitRows: 1, trace: trace)
  }

  /// The next tokens of an answer to logits, through the cache of those before them: one position
  /// costs what one position costs, however many there were.
  ///
  /// - Parameters:
  ///   - tokens: ids of the vocabulary; an `[IMG]` is embedded like any other.
  ///   - cache: what came before; these tokens are added to it.
  ///   - trace: sees every activation.
  /// - Returns: (tokens, vocab_size).
  /// - Throws: what the trace's recorder throws.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func logits(
    of tokens: [Int], cache: KeyValueCache<Scalar>, trace: Trace = Trace()
  ) throws -> Matrix<Scalar> {
    let rows: Matrix<Scalar> = splicedEmbeddings(
      tokens, imageRows: nil, table: checkpoint.tensor("tok_embeddings.weight"),
      imageToken: checkpoint.parameters.vision.imageToken)
    return try logits(
      trace.dividing(rows: [tokens.count])(.embeddings, rows), cache: cache, trace: trace)
  }

  /// The decoder's input for a whole prompt, images encoded: what `logits(_:cache:)` takes, a part
  /// at a time.
  ///
  /// - Parameters:
  ///   - prompt: tokens and images.
  ///   - logitRows: how many logits a run will hold at once, for the trace to announce; nil for all.
  ///   - trace: sees every activation.
  /// - Returns: (tokens, dim).
  /// - Throws: `InputError` if tokens and pixels do not fit one another or the model; what the trace's
  ///   recorder throws.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func embeddings(
    of prompt: Prompt, logitRows: Int? = nil, trace: Trace = Trace()
  ) throws -> Matrix<Scalar> {
    try prompt.check(against: checkpoint.parameters)
    try trace.begin([prompt], checkpoint.parameters, logitRows: logitRows)
    return try embed([prompt], trace)
  }

  /// The next rows of a prompt to logits, through a cache that holds the keys and values of those
  /// before them.
  ///
  /// - Parameters:
  ///   - rows: embeddings of the next tokens: (n, dim).
  ///   - cache: what the parts before have left; this part is added to it.
  ///   - logitRows: how many of the last positions get logits; nil for all.
  ///   - trace: sees every activation.
  /// - Returns: (logitRows, vocab_size).
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func logits(
    _ rows: Matrix<Scalar>, cache: KeyValueCache<Scalar>, logitRows: Int? = nil, trace: Trace = Trace()
  ) throws -> Matrix<Scalar> {
    try Decoder<Scalar>(checkpoint: checkpoint)(
      rows, prompts: [rows.rows], cache: cache, logitRows: logitRows, trace: trace)
  }
}
