/// Pixtral: a chat request with photos, to the logits of what comes next.
///
/// This page is the whole story, one call an arrow; each callee is a file of its own, in the folder of its stage.
///
///     request ── Prompt ──▶ tokens and pixels ── VisionEncoder ──▶ features ── Adapter ──▶ image rows
///                                └──────────────── embeddings ◀──────────────────────────────┘
///                                                      └── Decoder ──▶ logits
///
/// Nothing here chooses a precision: `Pixtral<Float>` and `Pixtral<Double>` compute the same lines.
public struct Pixtral<Scalar: Real>: Sendable {
  public let checkpoint: Checkpoint

  public init(_ checkpoint: Checkpoint) { self.checkpoint = checkpoint }

  /// Messages to logits.
  ///
  /// - Returns: (tokens of the prompt, vocab_size).
  /// - Throws: `InputError` for a request that cannot be rendered or an image that cannot be read.
  public func callAsFunction(
    _ request: ChatRequest, tokenizer: Tokenizer, trace: Trace = Trace()
  ) throws -> Matrix<Scalar> {
    let rule = ImageRule(checkpoint.parameters.vision)
    let prompt = try Prompt(request, tokenizer: tokenizer, imageRule: rule)  // messages → tokens and pixels
    try prompt.check(against: checkpoint.parameters)
    return try logits(prompt, trace: trace)
  }

  /// Tokens and pixels to logits. The prompt must have passed `Prompt.check(against:)`.
  ///
  /// - logitRows: how many of the last positions get logits; nil for all.
  /// - Returns: (logitRows, vocab_size).
  public func logits(_ prompt: Prompt, logitRows: Int? = nil, trace: Trace = Trace()) throws -> Matrix<Scalar> {
    let decoder = Decoder<Scalar>(checkpoint: checkpoint)
    return try decoder(embed(prompt, trace: trace), logitRows: logitRows, trace: trace)  // (T, dim) → (T, V)
  }

  /// The next part of a prompt to logits, through a cache that holds the parts before it.
  ///
  /// - part: the range of the prompt's tokens to compute, beginning at `cache.count`.
  /// - Returns: (tokens of the part, vocab_size).
  public func logits(
    _ prompt: Prompt, part: Range<Int>, cache: KeyValueCache<Scalar>
  ) throws -> Matrix<Scalar> {
    precondition(part.lowerBound == cache.count, "parts follow one another")
    let rows = try embed(prompt, trace: Trace())
    let values = Array(rows.values[part.lowerBound * rows.columns..<part.upperBound * rows.columns])
    let decoder = Decoder<Scalar>(checkpoint: checkpoint)
    return try decoder(
      Matrix(rows: part.count, columns: rows.columns, values: values), cache: cache, trace: Trace())
  }

  /// Tokens and pixels to the decoder's input: (T, dim).
  private func embed(_ prompt: Prompt, trace: Trace) throws -> Matrix<Scalar> {
    let visionEncoder = VisionEncoder<Scalar>(checkpoint: checkpoint)
    let adapter = Adapter<Scalar>(checkpoint: checkpoint)

    try trace.images(prompt.sources, rule: ImageRule(checkpoint.parameters.vision))
    var imageRows: Matrix<Scalar>?
    if !prompt.images.isEmpty {
      let features = try visionEncoder(prompt.images, trace: trace)  // pixels → (P, hidden_size)
      imageRows = try adapter(features, trace: trace)  // (P, dim)
    }
    return try trace(.embeddings, embeddings(prompt.tokens, imageRows: imageRows, checkpoint: checkpoint))
  }
}
