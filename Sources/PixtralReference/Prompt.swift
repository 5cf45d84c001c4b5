import PixtralImage
import PixtralStorage
import PixtralText

/// A prompt, ready for the model: its tokens, and its images in the order of the tokens.
public struct Prompt: Sendable {
  /// Ids of the vocabulary; each patch of an image is an `[IMG]`.
  public let tokens: [Int]
  /// The images in the order of their tokens.
  let images: [PromptImage]

  /// What the vision encoder takes of the images, all at once.
  public var pixels: [Pixels] {
    get throws { try images.map { try $0.pixels(trace: Trace().image(0, ofPrompt: 0)) } }
  }

  /// A prompt from tokens and pixels.
  public init(tokens: [Int], pixels: [Pixels] = []) {
    self.init(tokens: tokens, images: pixels.map(PromptImage.given))
  }

  init(tokens: [Int], images: [PromptImage]) {
    self.tokens = tokens
    self.images = images
  }

  /// What it is without the samples.
  func shape(patchSize: Int) -> PromptShape {
    PromptShape(tokens, images.map { ($0.sent, $0.grid(patchSize: patchSize)) }, patchSize: patchSize)
  }

  /// Patches of all images.
  func patches(patchSize: Int) -> Int {
    images.reduce(0) { $0 + $1.grid(patchSize: patchSize).patches }
  }

  /// Makes sure that a model can take this prompt: whole patches, finite samples, and tokens that
  /// fit them.
  ///
  /// - Throws: `InputError` of kind `wrongTokens` or `wrongPixels`.
  package func check(against parameters: Parameters) throws {
    let (patch, longest) = (parameters.vision.patchSize, parameters.vision.imageSize)
    // Sizes first: no sample is read of images that are too large, or that no token stands for.
    for (n, image) in images.enumerated() {
      let grid = image.grid(patchSize: patch)
      let isWhole = image.width == grid.columns * patch && image.height == grid.rows * patch
      guard grid.patches > 0, isWhole, image.width <= longest, image.height <= longest else {
        throw InputError(
          .wrongPixels, "image\(n)",
          expected: "[3, height, width], both multiples of \(patch) up to \(longest)",
          found: "[3, \(image.height), \(image.width)]")
      }
    }
    try shape(patchSize: patch).check(against: parameters)
    // Of images that were sent every sample is finite, and none has been decoded yet.
    for (n, image) in images.enumerated() where image.sent == nil {
      let values = try image.pixels(trace: Trace().image(n, ofPrompt: 0)).values
      if let sample = values.firstIndex(where: { !$0.isFinite }) {
        let (row, x) = (sample / image.width, sample % image.width)
        throw InputError(
          .wrongPixels, "image\(n)", expected: "finite samples",
          found: numberText(Double(values[sample]))
            + " at [\(row / image.height), \(row % image.height), \(x)]")
      }
    }
  }
}

/// An image of a prompt: samples in memory or in a file, or the image as a request sent it, which is
/// decoded when its samples are asked for.
enum PromptImage: Sendable {
  case given(Pixels)
  /// [3, height, width].
  case stored(StoredTensor)
  case sent(LoadedImage, ImageRule)

  /// Height and width in pixels, of what the vision encoder takes.
  var height: Int {
    switch self {
    case .given(let pixels): pixels.height
    case .stored(let tensor): tensor.shape[1]
    case .sent(let image, let rule): rule.grid(image.size).rows * rule.patchSize
    }
  }

  var width: Int {
    switch self {
    case .given(let pixels): pixels.width
    case .stored(let tensor): tensor.shape[2]
    case .sent(let image, let rule): rule.grid(image.size).columns * rule.patchSize
    }
  }

  /// Its size as it was sent, where that is known.
  var sent: ImageSize? { if case .sent(let image, _) = self { image.size } else { nil } }

  func grid(patchSize: Int) -> PatchGrid { PatchGrid(columns: width / patchSize, rows: height / patchSize) }
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
  /// Side of a patch in pixels.
  public let patchSize: Int

  init(_ tokens: [Int], _ images: [(sent: ImageSize?, grid: PatchGrid)], patchSize: Int) {
    self.tokens = tokens
    self.patchSize = patchSize
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
    guard !images.isEmpty || slots.isEmpty else {
      throw InputError(
        .wrongPixels, "tokens", expected: "pixels of the images that the tokens say",
        found: "none for \(slots.reduce(0, +)) [IMG]", advice: "give them with --pixels")
    }
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
