extension Prompt {
  /// A prompt from files: token ids as JSON, and pixels as safetensors.
  ///
  /// - tokensFile: `[1, 3, …]` or `{"tokens": [1, 3, …]}`.
  /// - pixelsFile: tensors `image0`, `image1`, … of [3, height, width]; nil for a prompt without images.
  /// - Throws: `InputError`.
  public init(tokensFile: String, pixelsFile: String?) throws {
    let json = try JSON(file: tokensFile)
    guard let tokens = (json["tokens"] ?? json).integers else {
      throw InputError(
        .wrongTokens, tokensFile, expected: "an array of integers, or an object with one under tokens", found: "something else")
    }
    self.init(tokens: tokens, images: try pixelsFile.map(Pixels.read) ?? [])
  }
}

extension Pixels {
  /// Reads the tensors `image0`, `image1`, … of a file.
  static func read(_ path: String) throws -> [Pixels] {
    let file = try Safetensors(path)
    var images: [Pixels] = []
    for n in 0..<file.tensors.count {
      guard let tensor = file.tensors.first(where: { $0.name == "image\(n)" }) else {
        throw InputError(
          .wrongPixels, path, expected: "\(file.tensors.count) tensors named image0, image1, …", found: "no image\(n)")
      }
      guard tensor.shape.count == 3, tensor.shape[0] == channels, !tensor.range.isEmpty else {
        throw InputError(.wrongPixels, "\(path), image\(n)", expected: "[3, height, width]", found: "\(tensor.shape)")
      }
      let weight = Weight(
        name: tensor.name, element: tensor.element, shape: tensor.shape, source: .mapped(file.file, tensor.range))
      images.append(Pixels(height: tensor.shape[1], width: tensor.shape[2], values: weight.vector()))
    }
    return images
  }

  /// Writes images as the tensors `image0`, `image1`, … of a safetensors file.
  public static func write(_ images: [Pixels], to path: String) throws {
    let writer = try SafetensorsWriter(
      path,
      images.enumerated().map {
        SafetensorsWriter.Entry(name: "image\($0)", element: .f32, shape: [channels, $1.height, $1.width])
      })
    do {
      for image in images { try image.values.withUnsafeBytes { try writer.write($0) } }
      try writer.finish()
    } catch {
      writer.abandon()
      throw error
    }
  }
}
