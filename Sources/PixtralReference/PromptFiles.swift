import PixtralImage
import PixtralStorage

extension Prompt {
  /// A prompt from files: token ids as JSON, and pixels as safetensors.
  ///
  /// - Parameters:
  ///   - tokensFile: `[1, 3, …]` or `{"tokens": [1, 3, …]}`.
  ///   - pixelsFile: tensors `image0`, `image1`, … of [3, height, width]; nil for a prompt without
  ///     images.
  /// - Throws: `InputError`.
  public init(tokensFile: String, pixelsFile: String? = nil) throws {
    self.init(tokens: try readTokens(tokensFile), pixels: try pixelsFile.map(Pixels.read) ?? [])
  }
}

extension Pixels {
  /// Reads the tensors `image0`, `image1`, … of a file.
  ///
  /// - Throws: `InputError`; of kind `wrongPixels` for values that float32 would round.
  static func read(_ path: String) throws -> [Pixels] {
    let file = try Safetensors(path)
    return try (0..<file.tensors.count).map { n in
      guard let tensor = file.tensors.first(where: { $0.name == "image\(n)" }) else {
        throw InputError(
          .wrongPixels, path, expected: "\(file.tensors.count) tensors named image0, image1, …",
          found: "no image\(n)")
      }
      let place = "\(path), image\(n)"
      guard tensor.shape.count == 3, tensor.shape[0] == channels, !tensor.range.isEmpty else {
        throw InputError(.wrongPixels, place, expected: "[3, height, width]", found: "\(tensor.shape)")
      }
      guard tensor.dtype != .f64 else {
        throw InputError(
          .wrongPixels, place, expected: "F32, F16 or BF16", found: "F64",
          advice: "round to float32: pixels are an input, and are float32 in every precision")
      }
      let stored = try StoredTensor(tensor, of: file.file)
      return Pixels(height: tensor.shape[1], width: tensor.shape[2], values: stored.vector())
    }
  }
}

/// A safetensors file of images, the tensors `image0`, `image1`, …, written one after another.
package final class PixelsFile {
  private let grids: [PatchGrid]
  private let rule: ImageRule
  private let writer: SafetensorsWriter

  /// - grids: of the images to come, in their order.
  /// - inputs: files that the run reads; none of them is replaced.
  /// - Throws: `InputError` of kind `unwritable`, also if there is no room for all images.
  package init(_ grids: [PatchGrid], rule: ImageRule, to path: String, sparing inputs: [String]) throws {
    self.grids = grids
    self.rule = rule
    let entries = grids.enumerated().map { n, grid in
      SafetensorsWriter.Entry(
        name: "image\(n)", dtype: .f32,
        shape: [Pixels.channels, grid.rows * rule.patchSize, grid.columns * rule.patchSize])
    }
    writer = try SafetensorsWriter(entries) { try NewFile(path, room: $0, sparing: inputs) }
  }

  /// Writes the n-th image.
  ///
  /// - Throws: `InputError` of kind `wrongImage` for one that is not of the grid that was announced.
  package func write(_ pixels: Pixels, of file: String, _ n: Int) throws {
    let grid = pixels.grid(patchSize: rule.patchSize)
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
