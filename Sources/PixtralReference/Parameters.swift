import PixtralImage
import PixtralStorage
import PixtralText

/// Every hyper-parameter of a Pixtral, as its `params.json` gives them. Model.md 1.
///
/// There are no defaults: a key that the arithmetic needs and the file lacks is an error. The
/// exceptions are the format's own: `adapter_bias` is true where it is absent, the ids of
/// `[IMG_BREAK]` and `[IMG_END]` are 14 and 15, and the vision encoder's epsilon is no key at all.
public struct Parameters: Sendable, Equatable {
  /// Width of the decoder.
  public let dim: Int
  /// Layers of the decoder.
  public let layers: Int
  /// Columns of a head of the decoder.
  public let headDim: Int
  /// Width of the decoder's feed-forward branch.
  public let hiddenDim: Int
  /// Query heads of the decoder.
  public let heads: Int
  /// Key-value heads of the decoder.
  public let keyValueHeads: Int
  /// Epsilon of the decoder's norms.
  public let normEpsilon: Double
  /// Rows of the token embeddings and of the output head.
  public let vocabularySize: Int
  /// Base of the decoder's rotary frequencies.
  public let ropeTheta: Double
  /// The vision encoder.
  public let vision: Vision

  /// The hyper-parameters of the vision encoder and of the adapter.
  public struct Vision: Sendable, Equatable {
    /// Width of the vision encoder.
    public let hiddenSize: Int
    /// 3: red, green and blue.
    public let channels: Int
    /// Longest side of an image after scaling, in pixels.
    public let imageSize: Int
    /// Side of a patch, in pixels.
    public let patchSize: Int
    /// Width of the feed-forward branch.
    public let intermediateSize: Int
    /// Layers of the vision encoder.
    public let layers: Int
    /// Heads of the vision encoder.
    public let heads: Int
    /// Base of the rotary frequencies.
    public let ropeTheta: Double
    /// Id of `[IMG]`.
    public let imageToken: Int
    /// Id of `[IMG_BREAK]`.
    public let imageBreakToken: Int
    /// Id of `[IMG_END]`.
    public let imageEndToken: Int
    /// Whether the adapter's layers have biases.
    public let adapterBias: Bool
    /// Fixed by the format: mistral_inference and transformers both write this number into their
    /// code.
    public let normEpsilon = 1e-5

    /// Columns of a head.
    public var headDim: Int { hiddenSize / heads }
  }
}

extension Parameters {
  /// Reads and checks the content of a `params.json`.
  ///
  /// - place: named in errors.
  /// - Throws: `InputError` of kind `wrongParameters` for a missing key, a wrong type, a key that makes it
  ///   another model, or numbers that contradict one another.
  package init(_ json: JSON, place: String) throws {
    self = try ParametersFile(mistral: json, place: place).checked()
  }

  /// Tokens that the model was trained for; no step computes with it.
  static let contextLength = 131_072

  /// How an image becomes patches.
  var imageRule: ImageRule { ImageRule(patchSize: vision.patchSize, longestSide: vision.imageSize) }

  /// As `params.json` text, with every key that other runtimes ask for.
  package var json: JSON {
    [
      "dim": .integer(dim), "n_layers": .integer(layers), "head_dim": .integer(headDim),
      "hidden_dim": .integer(hiddenDim), "n_heads": .integer(heads), "n_kv_heads": .integer(keyValueHeads),
      "norm_eps": .number(normEpsilon), "vocab_size": .integer(vocabularySize),
      "rope_theta": .number(ropeTheta),
      "max_position_embeddings": .integer(Self.contextLength),
      "vision_encoder": [
        "hidden_size": .integer(vision.hiddenSize), "num_channels": .integer(vision.channels),
        "image_size": .integer(vision.imageSize), "patch_size": .integer(vision.patchSize),
        "intermediate_size": .integer(vision.intermediateSize), "num_hidden_layers": .integer(vision.layers),
        "num_attention_heads": .integer(vision.heads), "rope_theta": .number(vision.ropeTheta),
        "image_token_id": .integer(vision.imageToken),
        "image_break_token_id": .integer(vision.imageBreakToken),
        "image_end_token_id": .integer(vision.imageEndToken), "adapter_bias": .bool(vision.adapterBias),
        "max_image_size": .integer(vision.imageSize),
      ],
    ]
  }
}
