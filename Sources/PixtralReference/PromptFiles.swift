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
    let json = try JSON(file: tokensFile)
    guard let tokens = (json["tokens"] ?? json).integers else {
      throw InputError(
        .wrongTokens, tokensFile, expected: "an array of integers, or an object with one under tokens",
        found: "something else")
    }
    self.init(tokens: tokens, pixels: try pixelsFile.map(Pixels.read) ?? [])
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

  /// Writes images as the tensors `image0`, `image1`, … of a safetensors file.
  package static func write(_ images: [Pixels], to path: String) throws {
    let entries = images.enumerated().map {
      SafetensorsWriter.Entry(name: "image\($0)", dtype: .f32, shape: [channels, $1.height, $1.width])
    }
    let writer = try SafetensorsWriter(path, entries)
    do {
      for image in images { try image.values.withUnsafeBytes { try writer.write($0) } }
      try writer.finish()
    } catch {
      writer.abandon()
      throw error
    }
  }
}
