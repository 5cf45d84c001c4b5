/// A prompt, ready for the model: its tokens, and the pixels of its images in the order of the tokens.
public struct Prompt: Sendable {
  public let tokens: [Int]
  public let images: [Pixels]
  /// The images as decoded, for the taps `image.N.rgb`; empty where pixels were given.
  public let sources: [RGBImage]

  /// A prompt from tokens and pixels made elsewhere.
  public init(tokens: [Int], images: [Pixels]) {
    self.tokens = tokens
    self.images = images
    sources = []
  }

  /// Messages to tokens and pixels. Model.md 4.
  ///
  /// - Throws: `InputError` for a request that breaks a rule or an image that cannot be read.
  public init(_ request: ChatRequest, tokenizer: Tokenizer, imageRule: ImageRule) throws {
    let rendered = try V7Template(tokenizer: tokenizer, imageRule: imageRule)(request)
    tokens = rendered.tokens
    images = rendered.images.map { Pixels($0, rule: imageRule) }
    sources = rendered.images
  }

  /// Sizes and grids of the images.
  public func shapes(patchSize: Int) -> [ImageShape] {
    images.enumerated().map { n, pixels in
      ImageShape(
        pixels: sources.isEmpty ? nil : (sources[n].width, sources[n].height), grid: pixels.grid(patchSize: patchSize))
    }
  }
}

/// An image in a prompt: each row its `[IMG]`s and an `[IMG_BREAK]`, the last break an `[IMG_END]`. Model.md 4.5.
func imageTokens(_ grid: PatchGrid) -> [Int] {
  let row = [Int](repeating: V7Token.image.rawValue, count: grid.columns) + [V7Token.imageBreak.rawValue]
  return (0..<grid.rows).flatMap { _ in row }.dropLast() + [V7Token.imageEnd.rawValue]
}

extension Prompt {
  /// How many `[IMG]` there are up to each `[IMG_END]`, and behind the last; only where there are any.
  private func imageSlots(_ vision: Parameters.Vision) -> [Int] {
    tokens.split(separator: vision.imageEndToken).map { $0.count { $0 == vision.imageToken } }.filter { $0 > 0 }
  }

  /// Makes sure that a model can take this prompt: every id in the vocabulary, and for each image its rows of tokens.
  ///
  /// - Throws: `InputError` of kind `wrongTokens` or `wrongPixels`.
  public func check(against parameters: Parameters) throws {
    let vision = parameters.vision
    guard !tokens.isEmpty else { throw InputError(.wrongTokens, "tokens", expected: "at least one", found: "none") }
    if let at = tokens.firstIndex(where: { $0 < 0 || $0 >= parameters.vocabularySize }) {
      throw InputError(
        .wrongTokens, "token \(at)", expected: "an id from 0 to \(parameters.vocabularySize - 1)", found: "\(tokens[at])")
    }
    for (n, image) in images.enumerated() {
      let grid = image.grid(patchSize: vision.patchSize)
      let whole = image.width == grid.columns * vision.patchSize && image.height == grid.rows * vision.patchSize
      guard grid.patches > 0, whole, image.width <= vision.imageSize, image.height <= vision.imageSize else {
        throw InputError(
          .wrongPixels, "image\(n)",
          expected: "[3, height, width], both multiples of \(vision.patchSize) up to \(vision.imageSize)",
          found: "[3, \(image.height), \(image.width)]")
      }
      if let sample = image.values.firstIndex(where: { !$0.isFinite }) {
        throw InputError(.wrongPixels, "image\(n)", expected: "finite samples", found: "\(image.values[sample]) at \(sample)")
      }
    }

    let patches = images.map { $0.grid(patchSize: vision.patchSize).patches }
    let slots = imageSlots(vision)
    // Tokens of another runtime may lack the ends, and then say only how many patches there are.
    guard slots == patches || !tokens.contains(vision.imageEndToken) && slots == [patches.reduce(0, +)] else {
      func count(_ patches: [Int]) -> String {
        "\(patches.reduce(0, +)) [IMG] for \(patches.count) image\(patches.count == 1 ? "" : "s") of \(patches) patches"
      }
      throw InputError(
        .wrongTokens, "tokens", expected: count(patches), found: count(slots),
        advice: "are there as many images as the tokens say?")
    }
  }
}
