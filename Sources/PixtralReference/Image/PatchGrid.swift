/// The patches of an image: `rows` lines of `columns`.
public struct PatchGrid: Sendable, Equatable {
  public let columns: Int
  public let rows: Int

  public var patches: Int { columns * rows }
}

/// An image's grid, and its size in pixels as it was sent, where that is known.
public struct ImageShape: Sendable {
  public let pixels: (width: Int, height: Int)?
  public let grid: PatchGrid
}

/// How an image becomes patches: the numbers that the checkpoint, or the tokenizer's name (`m1`), gives.
public struct ImageRule: Sendable {
  /// Side of a patch in pixels.
  public let patchSize: Int
  /// Longest side after scaling, in pixels. Smaller images are never enlarged to it.
  public let longestSide: Int
  /// Images of more pixels than this are refused.
  public var maxPixels = RGBImage.usualPixels

  public init(patchSize: Int, longestSide: Int) {
    self.patchSize = patchSize
    self.longestSide = longestSide
  }

  public init(_ vision: Parameters.Vision) {
    self.init(patchSize: vision.patchSize, longestSide: vision.imageSize)
  }

  /// What mistral-common takes for every tokenizer whose name ends in `m1`.
  public static let m1 = ImageRule(patchSize: 16, longestSide: 1024)

  /// The grid of an image of a size in pixels. Model.md 4.1.
  public func grid(width: Int, height: Int) -> PatchGrid {
    precondition(width > 0 && height > 0, "an image without pixels")
    var (width, height) = (width, height)
    let ratio = max(Double(height) / Double(longestSide), Double(width) / Double(longestSide))
    if ratio > 1 {
      // Halves to even, as Python rounds; Swift's own `.rounded()` takes them away from zero (G-half-away).
      width = max(Int((Double(width) / ratio).rounded(.toNearestOrEven)), 1)
      height = max(Int((Double(height) / ratio).rounded(.toNearestOrEven)), 1)
    }
    return PatchGrid(columns: (width - 1) / patchSize + 1, rows: (height - 1) / patchSize + 1)
  }
}
