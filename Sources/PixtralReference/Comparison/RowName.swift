import PixtralStorage

extension RunDescription {
  /// A row of a tap in words: which patch of which image, or which token.
  ///
  /// - rows: how many the tap has.
  /// - piece: the text of a token.
  /// - Returns: nil where a row is not known to be either.
  func name(ofRow row: Int, of tap: String, rows: Int, piece: (Int) -> String?) -> String? {
    if tap.hasPrefix("vision.") || tap.hasPrefix("adapter.") {
      guard rows == grids.reduce(0, { $0 + $1.patches }) else { return nil }
      return patch(row)
    }
    if tap.hasPrefix("decoder.") || tap == ModelTap.logits.rawValue {
      // Logits may be those of the last tokens alone.
      let position = tokens.count - rows + row
      guard rows <= tokens.count, tokens.indices.contains(position) else { return nil }
      let name = "token \(position) \(piece(tokens[position]).map(shownName) ?? "of id \(tokens[position])")"
      guard let image = parameters?.vision.imageToken, tokens[position] == image else { return name }
      return patch(tokens[..<position].count { $0 == image }).map { "\(name), \($0)" } ?? name
    }
    return nil
  }

  private func patch(_ row: Int) -> String? {
    var first = 0
    for (n, grid) in grids.enumerated() {
      if row < first + grid.patches {
        let within = row - first
        return "image \(n), row \(within / grid.columns), column \(within % grid.columns)"
      }
      first += grid.patches
    }
    return nil
  }
}
