/// The patches of an image: `rows` lines of `columns`.
public struct PatchGrid: Sendable, Equatable {
  /// Patches in a line.
  public let columns: Int
  /// Lines of patches.
  public let rows: Int

  /// A grid of a size in patches.
  public init(columns: Int, rows: Int) {
    self.columns = columns
    self.rows = rows
  }

  /// All patches of the image.
  public var patches: Int { columns * rows }

  /// What the image is in a prompt: each row has a break or the end behind it. Model.md 4.5.
  public var tokens: Int { rows * (columns + 1) }
}

/// How an image becomes patches: the numbers that the checkpoint, or the tokenizer's name (`m1`),
/// gives.
public struct ImageRule: Sendable, Equatable {
  /// Side of a patch in pixels.
  public let patchSize: Int
  /// Longest side after scaling, in pixels. Smaller images are never enlarged to it.
  public let longestSide: Int

  /// - Parameters:
  ///   - patchSize: side of a patch in pixels.
  ///   - longestSide: longest side after scaling, in pixels.
  public init(patchSize: Int, longestSide: Int) {
    self.patchSize = patchSize
    self.longestSide = longestSide
  }

  /// What mistral-common takes for every tokenizer whose name ends in `m1`: patches of 16, sides up
  /// to 1024.
  public static let m1 = ImageRule(patchSize: 16, longestSide: 1024)

  /// The grid of an image of a size in pixels. Model.md 4.1.
  public func grid(width: Int, height: Int) -> PatchGrid {
    precondition(width > 0 && height > 0, "an image without pixels")
    var (width, height) = (width, height)
    let ratio = max(Double(height) / Double(longestSide), Double(width) / Double(longestSide))
    if ratio > 1 {
      // Halves to even, as Python rounds; Swift's own `.rounded()` takes them away from zero
      // (G-half-away).
      width = max(Int((Double(width) / ratio).rounded(.toNearestOrEven)), 1)
      height = max(Int((Double(height) / ratio).rounded(.toNearestOrEven)), 1)
    }
    return PatchGrid(columns: (width - 1) / patchSize + 1, rows: (height - 1) / patchSize + 1)
  }

  /// The grid of an image. Model.md 4.1.
  public func grid(_ size: ImageSize) -> PatchGrid { grid(width: size.width, height: size.height) }
}
