extension Comparison {
  /// What was done to the two sides before they were judged, and what was not judged: a sentence
  /// each.
  package var notes: [String] {
    var notes: [String] = []
    if !halfSplit.isEmpty {
      let parts = RotaryPart.allCases.filter { halfSplit[$0] != nil }
        .map { $0 == .vision ? "the vision encoder" : "the decoder" }
      notes.append(
        "q and k of \(parts.joined(separator: " and ")) are in half-split order, as in Hugging Face's layout; "
          + "they were put into adjacent pairs first")
    }
    let adjustments = pairs.flatMap { $0.found?.adjustments ?? [] }
    for (adjustment, text) in Self.adjustmentTexts {
      let count = adjustments.count { $0 == adjustment }
      if count > 0 {
        notes.append("\(count) \(count == 1 ? "tap" : "taps") of the candidate: \(text)")
      }
    }
    if reference.model != nil && !run.grids.isEmpty && !pairs.contains(where: { TapPlace.isPixels($0.name) })
    {
      notes.append(
        "the case has pixels of its own, image0 and so on in its file; a run from the request makes others, "
          + "up to 1e-5 apart")
    }
    let unjudged = reference.others.map(\.name)
    if !unjudged.isEmpty {
      notes.append(
        "of the reference not judged, for they are no matrices of floating-point numbers: \(Self.list(unjudged))"
      )
    }
    if !extra.isEmpty {
      let names = extra.map { name, meant in meant.map { "\(name) (is it \($0)?)" } ?? name }
      notes.append(
        "\(extra.count) \(extra.count == 1 ? "tensor" : "tensors") of the candidate only: \(Self.list(names))"
      )
    }
    if options.limit != nil { return notes }
    if reference.model != nil {
      notes.append("the limits are the case's own")
    } else if let declared = options.arithmetic {
      notes.append("the limits are those of \(declared.rawValue), or of a narrower dtype of storage")
    } else {
      notes.append("the limits follow the dtype of storage; --arithmetic says what was computed in")
    }
    return notes
  }

  private static let adjustmentTexts: [(TapView.Adjustment, String)] = [
    (.batchDropped, "a batch of one was dropped"),
    (.headsJoined, "[rows, heads, head_dim] was read as [rows, heads · head_dim]"),
    (.headsMoved, "[heads, rows, head_dim] was read as [rows, heads · head_dim]"),
    (.lastRow, "only the last row is compared"),
  ]

  /// The first few of many names.
  package static func list(_ names: [String]) -> String {
    let shown = names.prefix(5).joined(separator: ", ")
    return names.count > 5 ? "\(shown) and \(names.count - 5) more" : shown
  }

  /// In which order the candidate has the columns of a head of q and k, for each part of the model.
  package var rotaryOrders: [(part: String, order: RotaryOrder)] {
    RotaryPart.allCases.filter { part in taps.contains { RotaryPart(tap: $0.name) == part && !$0.isMissing } }
      .map { ($0.rawValue, halfSplit[$0] == nil ? .adjacent : .halfSplit) }
  }
}
