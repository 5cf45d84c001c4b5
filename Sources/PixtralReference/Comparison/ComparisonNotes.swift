import PixtralStorage

extension Comparison {
  /// What was done to the two sides before they were judged, and what was not judged: a sentence
  /// each.
  package var notes: [String] {
    var notes: [String] = []
    if let otherRequest { notes.append(otherRequest) }
    notes += HalfSplit.Side.allCases.compactMap(orderNote)
    let sides = [("candidate", pairs.compactMap(\.found)), ("reference", pairs.map(\.expected))]
    for (side, views) in sides {
      for (adjustment, text) in Self.adjustmentTexts {
        let count = views.count { $0.adjustments.contains(adjustment) }
        if count > 0 { notes.append("\(counted(count, "tap")) of the \(side): \(text)") }
      }
    }
    let ambiguous = pairs.count { $0.readings.count > 1 }
    if ambiguous > 0 {
      notes.append(
        "\(counted(ambiguous, "tap")) of the candidate: as many heads as rows, and read as what is nearer")
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
      let names = extra.map { name, meant in
        meant.map { "\(shownName(name)) (is it \(shownName($0))?)" } ?? shownName(name)
      }
      notes.append("\(counted(extra.count, "tensor")) of the candidate only: \(Self.firstFew(names))")
    }
    notes += digestNote + limitNotes
    return notes
  }

  /// Which q and k of a side were put into another order.
  private func orderNote(_ side: HalfSplit.Side) -> String? {
    let orders = RotaryPart.allCases.compactMap { part in
      halfSplit[part].map { (part == .vision ? "the vision encoder" : "the decoder", $0) }
    }.filter { $0.1.side == side }
    if orders.isEmpty { return nil }
    let whose = side == .reference ? "the reference's q and k" : "q and k"
    let guess = orders.map { "\($0.1.headDim)" }.joined(separator: " and ")
    return "\(whose) of \(orders.map(\.0).joined(separator: " and ")) are in half-split order, as in Hugging "
      + "Face's layout; they were put into adjacent pairs first"
      + (parameters == nil
        ? ", taking heads of \(guess) columns: neither side says how many; a trace folder or a case does"
        : "")
  }

  /// How sure the figures are where a side is a digest.
  private var digestNote: [String] {
    let count = pairs.count {
      $0.found != nil && ($0.found?.tensor.digest != nil || $0.expected.tensor.digest != nil)
    }
    let lacking = pairs.filter(\.lacksRows).map(\.name)
    let rows =
      lacking.isEmpty
      ? []
      : [
        "\(Self.list(lacking)): one side has a digest of all rows, of which the other has some; single rows "
          + "are in no digest"
      ]
    if count == 0 { return rows }
    let sides = [("candidate", pairs.compactMap(\.found)), ("reference", pairs.map(\.expected))]
      .filter { $0.1.contains { $0.tensor.digest != nil } }.map { "the \($0.0)" }
    return [
      "\(sides.joined(separator: " and ")) \(sides.count == 1 ? "is a digest" : "are digests"): relF is an estimate "
        + "(of 20 taps, 19 within 6%), what is below 1e-7 is not seen, and rows are compared by their norms, 64 of them"
    ] + rows
  }

  /// Where the limits come from.
  private var limitNotes: [String] {
    if options.limit != nil { return [] }
    var notes: [String] = []
    let sources = pairs.map(\.limitSource)
    let ofCase = sources.count { $0 == .theCase }
    if ofCase > 0 {
      notes.append(
        "the limits \(ofCase < pairs.count ? "of \(counted(ofCase, "tap")) " : "")are the case's own")
    }
    let measured = pairs.compactMap { pair -> (name: String, of: String)? in
      if case .noise(let tap) = pair.limitSource { (pair.name, tap) } else { nil }
    }
    if !measured.isEmpty {
      let isOwn = run.model == noiseModel
      notes.append(
        "\(ofCase > 0 ? "the others" : "the limits") are twice the noise of right runs that was measured on "
          + "\(noiseModel)\(isOwn ? "" : ", the nearest model")")
      let elsewhere = measured.filter { $0.name != $0.of }
      if let first = elsewhere.first {
        notes.append(
          "\(counted(elsewhere.count, "tap")) that no golden has: the limit is that of the nearest, as of "
            + "\(first.of) for \(first.name)")
      }
      notes.append(
        options.arithmetic.map { "they are those of \($0.rawValue), or of a narrower dtype of storage" }
          ?? "they follow the dtype of storage; --arithmetic says what was computed in")
    }
    return notes
  }

  /// That the two are not of one request, where it shows.
  private var otherRequest: String? {
    let advice =
      reference.model == nil
      ? "give the runtime the tokens of the reference's trace.json"
      : "give the runtime the case's own tokens and pixels, which `trace --tokens \(reference.path)/case.json "
        + "--pixels \(reference.path)/expected.safetensors` takes too"
    if let difference = reference.run.difference(from: candidate.run) {
      return "the candidate is of another request, \(difference): \(advice)"
    }
    // Where the candidate does not say of what it is, its rows do.
    for pair in pairs where pair.name.hasPrefix("decoder.") && RotaryPart(tap: pair.name) == nil {
      guard case .otherShape(let expected, let found)? = pair.verdict else { continue }
      let (e, a) = (TapView.withoutBatch(expected), TapView.withoutBatch(found))
      guard e.count == 2, a.count == 2, e[1] == a[1], a[0] > 1 else { continue }
      return "the candidate has \(a[0]) rows of \(pair.name) for \(counted(e[0], "token")), "
        + "so that it may be of another request: \(advice)"
    }
    return nil
  }

  private static let adjustmentTexts: [(TapView.Adjustment, String)] = [
    (.batchDropped, "a batch of one was dropped"),
    (.onesDropped, "dimensions of one were dropped"),
    (.headsJoined, "[rows, heads, head_dim] was read as [rows, heads · head_dim]"),
    (.headsMoved, "[heads, rows, head_dim] was read as [rows, heads · head_dim]"),
    (.lastRow, "only the last row is compared"),
  ]

  /// The first few of many names.
  package static func list(_ names: [String]) -> String {
    firstFew(names.prefix(6).map(shownName), of: names.count)
  }

  private static func firstFew(_ shown: [String], of count: Int? = nil) -> String {
    let count = count ?? shown.count
    let first = shown.prefix(5).joined(separator: ", ")
    return count > 5 ? "\(first) and \(count - 5) more" : first
  }

  /// In which order the candidate has the columns of a head of q and k, for each part of the model that
  /// it has them of; nil where they are near in neither.
  package var rotaryOrders: [(part: String, order: RotaryOrder?)] {
    RotaryPart.allCases.compactMap { part in
      switch rotary[part] {
      case .adjacent: (part.rawValue, .adjacent)
      case .halfSplit(let order): (part.rawValue, order.side == .candidate ? .halfSplit : .adjacent)
      case .unclear: (part.rawValue, nil)
      case nil: nil
      }
    }
  }
}

/// A name that a file has, as it stands in a sentence: on one line, of a bearable length, and seen even
/// if it is empty.
package func shownName(_ name: String) -> String { name.isEmpty ? "\"\"" : onOneLine(shortened(name)) }

/// `1 tap`, `2 taps`.
package func counted(_ count: Int, _ thing: String) -> String { "\(count) \(thing)\(count == 1 ? "" : "s")" }
