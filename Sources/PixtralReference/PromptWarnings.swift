import PixtralText

extension Prompt {
  /// What is odd about it, though a model computes it all the same.
  ///
  /// - Returns: sentences.
  package func warnings(for parameters: Parameters) -> [String] {
    shape(patchSize: parameters.vision.patchSize).warnings(for: parameters)
  }
}

extension PromptShape {
  /// What is odd about tokens from elsewhere, which a model computes all the same: no beginning, or
  /// images whose tokens are not those of their grids. Model.md 4.5.
  ///
  /// - Returns: sentences; of each image only the first thing that is odd.
  package func warnings(for parameters: Parameters) -> [String] {
    var warnings = beginningWarnings
    var next = 0  // what follows the tokens of the images so far
    for (n, image) in images.enumerated() {
      guard let start = tokens[next...].firstIndex(of: parameters.vision.imageToken) else { break }
      if let stray = strayWarning(next..<start, before: "image \(n)", parameters) { warnings.append(stray) }
      let (warning, end) = imageWarning(n, image, from: start, parameters)
      if let warning { warnings.append(warning) }
      next = end
    }
    if let stray = strayWarning(next..<tokens.count, before: nil, parameters) { warnings.append(stray) }
    return warnings
  }

  private var beginningWarnings: [String] {
    let begin = V7Token.beginOfSequence.rawValue
    var warnings: [String] = []
    if tokens.first != begin {
      warnings.append(
        "token 0: expected \(begin), the beginning of every prompt, found \(tokens.first.map(String.init) ?? "none")"
      )
    }
    if let again = tokens.dropFirst().firstIndex(of: begin) {
      warnings.append("token \(again): expected \(begin) at the beginning only, found it again")
    }
    return warnings
  }

  /// Compares the tokens of an image with the rule: a break behind each row, the end behind the
  /// last.
  ///
  /// - Returns: the first difference, and where the image's tokens end.
  private func imageWarning(
    _ n: Int, _ image: ImageShape, from start: Int, _ parameters: Parameters
  ) -> (warning: String?, end: Int) {
    let (vision, grid) = (parameters.vision, image.grid)
    let rule = (0..<grid.rows).flatMap { row in
      [Int](repeating: vision.imageToken, count: grid.columns)
        + [row < grid.rows - 1 ? vision.imageBreakToken : vision.imageEndToken]
    }
    func found(_ place: Int) -> Int? { start + place < tokens.count ? tokens[start + place] : nil }
    guard let place = rule.indices.first(where: { found($0) != rule[$0] }) else {
      return (nil, start + rule.count)
    }
    let names = [vision.imageToken: "[IMG]", vision.imageBreakToken: "[IMG_BREAK]"]
    let name = names[rule[place]] ?? "[IMG_END]"
    let row = place / (grid.columns + 1)
    let isTekken = found(place) == 12 || found(place) == 13
    let warning =
      "token \(start + place): expected \(name) (\(rule[place])) in row \(row) of image \(n), of "
      + "\(grid.columns)×\(grid.rows) patches, found \(found(place).map(String.init) ?? "the end")"
      + (isTekken ? "; 12 and 13 are the ids of Pixtral 12B" : "")
    return (warning, end(ofPatches: grid.patches, from: start, vision))
  }

  /// Where the tokens of an image end that do not follow the rule: behind its last patch, and
  /// behind the break or end that follows.
  private func end(ofPatches count: Int, from start: Int, _ vision: Parameters.Vision) -> Int {
    var left = count
    var at = start
    while at < tokens.count && left > 0 {
      if tokens[at] == vision.imageToken { left -= 1 }
      at += 1
    }
    while at < tokens.count, [vision.imageBreakToken, vision.imageEndToken].contains(tokens[at]) { at += 1 }
    return at
  }

  /// Breaks and ends where no image is.
  private func strayWarning(_ range: Range<Int>, before: String?, _ parameters: Parameters) -> String? {
    let vision = parameters.vision
    let names = [vision.imageBreakToken: "[IMG_BREAK]", vision.imageEndToken: "[IMG_END]"]
    guard let at = range.first(where: { names[tokens[$0]] != nil }), let name = names[tokens[at]] else {
      return nil
    }
    let place = before.map { "before \($0)" } ?? (images.isEmpty ? "" : "behind the last image")
    return
      "token \(at): expected no \(name) outside of an image, found one\(place.isEmpty ? "" : " \(place)")"
  }
}
