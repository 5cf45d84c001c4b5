import PixtralImage
import PixtralStorage

extension Prompt {
  /// A prompt from files: token ids as JSON, and pixels as safetensors.
  ///
  /// - Parameters:
  ///   - tokensFile: as for `readTokens`.
  ///   - pixelsFile: tensors `image0`, `image1`, … of [3, height, width]; nil for a prompt without
  ///     images.
  /// - Throws: `InputError`.
  public init(tokensFile: String, pixelsFile: String? = nil) throws {
    try self.init(tokens: readTokens(tokensFile), pixelsFile: pixelsFile)
  }

  /// A prompt of token ids, and pixels of a file.
  package init(tokens: [Int], pixelsFile: String?) throws {
    self.init(tokens: tokens, images: try pixelsFile.map(PromptImage.open) ?? [])
  }
}

extension PromptImage {
  /// Opens the tensors `image0`, `image1`, … of a file; it may hold others beside them. A batch of one
  /// in front of an image is dropped.
  ///
  /// - Throws: `InputError`; of kind `wrongPixels` for values that float32 would round.
  static func open(_ path: String) throws -> [PromptImage] {
    let file = try Safetensors(path)
    let tensors = Dictionary(uniqueKeysWithValues: file.tensors.map { ($0.name, $0) })
    let count = tensors.keys.count(where: TapPlace.isPixels)
    guard count > 0 else {
      throw InputError(
        .wrongPixels, path, expected: "tensors named image0, image1, …",
        found: tensors.keys.min().map { "none of these, but \($0)" } ?? "no tensor",
        advice: "write each image as a tensor of its own, [3, height, width], in the order of the tokens")
    }
    return try (0..<count).map { n in
      guard let tensor = tensors["image\(n)"] else {
        throw InputError(
          .wrongPixels, path, expected: "\(count) images from image0 to image\(count - 1)",
          found: "no image\(n)", advice: "number them in the order of their tokens")
      }
      return try PromptImage(tensor, of: file.file)
    }
  }

  private init(_ tensor: Safetensors.Tensor, of file: MappedFile) throws {
    func refuse(_ expected: String, _ found: String, _ advice: String) -> InputError {
      InputError(
        .wrongPixels, "\(file.path), \(tensor.name)", expected: expected, found: found, advice: advice)
    }
    let isBatch = tensor.shape.count == 4 && tensor.shape[0] == 1
    let shape = isBatch ? Array(tensor.shape.dropFirst()) : tensor.shape
    guard shape.count == 3, shape[0] == Pixels.channels, !tensor.range.isEmpty else {
      let advice =
        shape.count == 4
        ? "write each image as a tensor of its own"
        : shape.last == Pixels.channels ? "put the channels first" : ""
      throw refuse("[3, height, width]", "\(tensor.shape)", advice)
    }
    guard tensor.dtype != .f64 else {
      throw refuse(
        "F32, F16 or BF16", "F64",
        "round to float32: pixels are an input, and are float32 in every precision")
    }
    let stored = try StoredTensor(tensor, of: file)
    self = .stored(StoredTensor(name: stored.name, dtype: stored.dtype, shape: shape, source: stored.source))
  }
}

/// A safetensors file of images, the tensors `image0`, `image1`, …, written one after another.
package final class PixelsFile {
  private let grids: [PatchGrid]
  private let patchSize: Int
  private let writer: SafetensorsWriter

  /// - grids: of the images to come, in their order.
  /// - newFile: begins the file, which will have this many bytes.
  /// - Throws: `InputError` of kind `unwritable`, also if there is no room for all images.
  package init(_ grids: [PatchGrid], patchSize: Int, newFile: (_ bytes: Int) throws -> NewFile) throws {
    self.grids = grids
    self.patchSize = patchSize
    let entries = grids.enumerated().map { n, grid in
      SafetensorsWriter.Entry(
        name: "image\(n)", dtype: .f32,
        shape: [Pixels.channels, grid.rows * patchSize, grid.columns * patchSize])
    }
    writer = try SafetensorsWriter(entries, newFile: newFile)
  }

  /// - path: where the file goes.
  /// - inputs: files that the run reads; none of them is replaced.
  /// - Throws: as for any file.
  package convenience init(
    _ grids: [PatchGrid], rule: ImageRule, to path: String, sparing inputs: [String]
  ) throws {
    try self.init(grids, patchSize: rule.patchSize) { try NewFile(path, room: $0, sparing: inputs) }
  }

  /// Writes the n-th image.
  ///
  /// - Throws: `InputError` of kind `wrongImage` for one that is not of the grid that was announced.
  package func write(_ pixels: Pixels, of file: String, _ n: Int) throws {
    let grid = pixels.grid(patchSize: patchSize)
    guard grid == grids[n] else {
      throw InputError(
        .wrongImage, file, expected: "\(grids[n].columns)×\(grids[n].rows) patches, as its header said",
        found: "\(grid.columns)×\(grid.rows)", advice: "it was changed meanwhile; try again")
    }
    try pixels.values.withUnsafeBytes { try writer.write($0) }
  }

  /// The file is whole: every image must have been written. It has no name yet.
  package func complete() throws { try writer.complete() }

  /// Gives the file its name.
  package func finish() throws { try writer.finish() }
}
