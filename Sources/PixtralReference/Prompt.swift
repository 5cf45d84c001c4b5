import PixtralImage
import PixtralStorage

/// A prompt, ready for the model: its tokens, and the pixels of its images in the order of the
/// tokens.
public struct Prompt: Sendable {
  /// Ids of the vocabulary; each patch of an image is an `[IMG]`.
  public let tokens: [Int]
  /// The images in the order of their tokens.
  public let pixels: [Pixels]

  /// A prompt from tokens and pixels.
  public init(tokens: [Int], pixels: [Pixels] = []) {
    self.tokens = tokens
    self.pixels = pixels
  }

  /// What it is without the samples.
  func shape(patchSize: Int) -> PromptShape {
    PromptShape(tokens, pixels.map { (nil, $0.grid(patchSize: patchSize)) })
  }

  /// Makes sure that a model can take this prompt: whole patches, finite samples, and tokens that
  /// fit them.
  ///
  /// - Throws: `InputError` of kind `wrongTokens` or `wrongPixels`.
  func check(against parameters: Parameters) throws {
    let (patch, longest) = (parameters.vision.patchSize, parameters.vision.imageSize)
    for (n, image) in pixels.enumerated() {
      let grid = image.grid(patchSize: patch)
      let isWhole = image.width == grid.columns * patch && image.height == grid.rows * patch
      guard grid.patches > 0, isWhole, image.width <= longest, image.height <= longest else {
        throw InputError(
          .wrongPixels, "image\(n)",
          expected: "[3, height, width], both multiples of \(patch) up to \(longest)",
          found: "[3, \(image.height), \(image.width)]")
      }
      if let sample = image.values.firstIndex(where: { !$0.isFinite }) {
        throw InputError(
          .wrongPixels, "image\(n)", expected: "finite samples", found: "\(image.values[sample]) at \(sample)"
        )
      }
    }
    try shape(patchSize: patch).check(against: parameters)
  }
}

/// An image of a prompt: its size in pixels as it was sent, where that is known, and its grid.
public struct ImageShape: Sendable {
  /// Size in pixels as it was sent; nil where pixels were given.
  public let sent: ImageSize?
  /// Its patches.
  public let grid: PatchGrid
}

/// What a prompt is without the samples of its images: what is known before anything is computed.
public struct PromptShape: Sendable {
  /// The prompt.
  public let tokens: [Int]
  /// Its images, in the order of their tokens.
  public let images: [ImageShape]

  init(_ tokens: [Int], _ images: [(sent: ImageSize?, grid: PatchGrid)]) {
    self.tokens = tokens
    self.images = images.map { ImageShape(sent: $0.sent, grid: $0.grid) }
  }

  /// Makes sure that every id is in the vocabulary and that each image has its tokens. Model.md
  /// 4.9.
  func check(against parameters: Parameters) throws {
    let vision = parameters.vision
    guard !tokens.isEmpty else {
      throw InputError(.wrongTokens, "tokens", expected: "at least one", found: "none")
    }
    if let at = tokens.firstIndex(where: { $0 < 0 || $0 >= parameters.vocabularySize }) {
      throw InputError(
        .wrongTokens, "token \(at)", expected: "an id from 0 to \(parameters.vocabularySize - 1)",
        found: "\(tokens[at])")
    }
    let patches = images.map(\.grid.patches)
    let slots = imageSlots(vision)
    // Tokens of another runtime may lack the ends, and then say only how many patches there are.
    let isEndless = !tokens.contains(vision.imageEndToken)
    guard slots == patches || (isEndless && slots == [patches.reduce(0, +)]) else {
      func count(_ patches: [Int]) -> String {
        let images = "\(patches.count) image\(patches.count == 1 ? "" : "s")"
        return "\(patches.reduce(0, +)) [IMG] for \(images) of \(patches) patches"
      }
      throw InputError(
        .wrongTokens, "tokens", expected: count(patches), found: count(slots),
        advice: "are there as many images as the tokens say?")
    }
  }

  /// How many `[IMG]` there are up to each `[IMG_END]`, and behind the last; only where there are
  /// any.
  private func imageSlots(_ vision: Parameters.Vision) -> [Int] {
    tokens.split(separator: vision.imageEndToken).map { $0.count { $0 == vision.imageToken } }
      .filter { $0 > 0 }
  }
}
