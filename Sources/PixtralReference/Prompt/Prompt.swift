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
  /// - Throws: `InputError` for a request that the template refuses or an image that cannot be read.
  public init(_ request: ChatRequest, tokenizer: Tokenizer, imageRule: ImageRule) throws {
    var tokens: [Int] = []
    var images: [Pixels] = []
    var sources: [RGBImage] = []
    for part in try V7Template.render(request) {
      switch part {
      case .control(let token): tokens.append(token.rawValue)
      case .text(let text): tokens += tokenizer.encode(text)
      case .image(let source):
        let rgb = try source.load(place: "image \(images.count)")
        tokens += imageTokens(imageRule.grid(width: rgb.width, height: rgb.height))
        images.append(Pixels(rgb, rule: imageRule))
        sources.append(rgb)
      }
    }
    self.tokens = tokens
    self.images = images
    self.sources = sources
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

    let slots = tokens.filter { $0 == vision.imageToken }.count
    let patches = images.reduce(0) { $0 + $1.grid(patchSize: vision.patchSize).patches }
    guard slots == patches else {
      throw InputError(
        .wrongTokens, "tokens", expected: "\(patches) [IMG] for the patches of \(images.count) images", found: "\(slots)",
        advice: "are there as many images as the tokens say?")
    }
  }
}
