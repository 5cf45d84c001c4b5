// The rows of wq and wk stand in one order in Mistral's layout, in another in Hugging Face's.

/// Which row of adjacent-pair weights stands at a row of half-split weights.
///
/// Mistral turns columns (2i, 2i+1) of a head together; Hugging Face turns (i, i + head_dim/2). So
/// within each head the even rows come first, then the odd ones. Heads are counted with the
/// tensor's own number of heads (D-k-permute).
func halfSplitRow(_ row: Int, headRows: Int) -> Int {
  let (head, within) = (row / headRows, row % headRows)
  let half = headRows / 2
  return head * headRows + (within < half ? 2 * within : 2 * (within - half) + 1)
}

/// At which row of half-split weights a row of adjacent-pair weights stands: the inverse.
func adjacentPairRow(_ row: Int, headRows: Int) -> Int {
  let (head, within) = (row / headRows, row % headRows)
  return head * headRows + within % 2 * (headRows / 2) + within / 2
}

extension Parameters {
  /// How many heads a tensor's rows are, if they are rotated; nil for every other tensor.
  func rotaryHeads(of name: String) -> Int? {
    let isVision = name.hasPrefix("vision_encoder.")
    if name.hasSuffix(".attention.wq.weight") { return isVision ? vision.heads : heads }
    if name.hasSuffix(".attention.wk.weight") { return isVision ? vision.heads : keyValueHeads }
    return nil
  }
}
