import PixtralStorage

/// Where a limit comes from.
enum LimitSource: Sendable, Equatable {
  /// It was asked for.
  case option
  /// The reference is a case, which has it.
  case theCase
  /// The noise of right runs at a tap: this one, or that of the nearest layer.
  case noise(ofTap: String)
  /// The arithmetic's own, for what is no tap.
  case arithmetic
}

/// A tap of the reference, and the candidate's.
struct TapPair: Sendable {
  /// What a candidate has under a tap's name.
  enum Found {
    case matrix(StoredTensor)
    /// What has no values, or none that are floating-point numbers.
    case other(Safetensors.Tensor)
    case missing
  }

  private(set) var expected: TapView
  /// The ways in which the candidate's tensor can be read as the tap: none if there is none, or none of
  /// this shape and a dtype of numbers.
  let readings: [TapView]
  /// The reading that is judged.
  var found: TapView?
  /// The narrower of the two sides' arithmetics.
  let arithmetic: Arithmetic
  let limit: DistanceLimit
  /// Where that limit comes from.
  let limitSource: LimitSource
  /// The verdict, where it needs no look at the values.
  let verdict: Comparison.Verdict?
  /// Which rows of the reference's tap these are, if not all that it has.
  let kept: [Int]?
  /// Whether one side has a digest of all rows, of which the other has some: nothing can be said of them.
  private(set) var lacksRows = false

  var name: String { expected.tensor.name }

  /// - model: the case that the reference is, if it is one.
  init(
    _ tensor: StoredTensor, _ candidate: Found, of model: CaseReference?, _ run: RunDescription,
    _ parameters: Parameters?, _ noise: Noise, _ options: Comparison.Options
  ) {
    let reference = TapView(tensor)
    let kept = model?.rows[tensor.name]
    // What is stored in fewer bits than it was computed in is rounded.
    var arithmetics = [Arithmetic(of: tensor)] + [options.arithmetic].compactMap(\.self)
    if case .matrix(let candidate) = candidate { arithmetics.append(Arithmetic(of: candidate)) }
    var narrowest = Arithmetic.narrowest(of: arithmetics)
    // The numbers of a digest are rounded to float32.
    var isDigest = tensor.digest != nil
    if case .matrix(let candidate) = candidate, candidate.digest != nil { isDigest = true }
    if isDigest && narrowest == .float64 { narrowest = .float32 }
    arithmetic = narrowest
    if let given = options.limit {
      (limit, limitSource) = (given, .option)
    } else if let own = model?.limit(tensor.name, narrowest) {
      (limit, limitSource) = (own, .theCase)
    } else if let measured = noise.at(tensor.name, narrowest) {
      (limit, limitSource) = (DistanceLimit(noise: measured.relF), .noise(ofTap: measured.tap))
    } else {
      (limit, limitSource) = (narrowest.limit, .arithmetic)
    }

    guard case .matrix(let candidate) = candidate else {
      (expected, readings, self.kept) = (reference, [], kept)
      verdict =
        switch candidate {
        case .other(let other) where other.dtype == nil: .otherDType(other.typeName)
        case .other(let other): .otherShape(expected: tensor.shape, found: other.shape)
        default: .missing
        }
      return
    }
    let (total, heads) = (run.rows(of: tensor.name), parameters?.heads(of: tensor.name))
    let readings = TapView.readings(of: candidate, like: tensor.shape, kept: kept, total: total, heads: heads)
    // A reference that another runtime wrote may be in another form as well.
    let forms = TapView.readings(of: tensor, like: candidate.shape, kept: nil, total: nil, heads: heads)
    let lastRow = kept?.last ?? reference.rows - 1
    if tensor.shape.count > candidate.shape.count, candidate.shape.count == 2, let form = forms.first {
      (expected, self.readings, verdict, self.kept) = (form, [TapView(candidate)], nil, nil)
    } else if !readings.isEmpty {
      (expected, self.readings, verdict, self.kept) = (reference, readings, nil, kept)
    } else if tensor.name == ModelTap.logits.rawValue, tensor.digest == nil,
      total == nil || lastRow == total! - 1,
      var last = TapView.readings(
        of: candidate, like: [1, reference.columns], kept: nil, total: nil, heads: nil
      ).first, !last.adjustments.contains(.lastRow)
    {
      // Exactly one row of logits: any other number is another run's.
      last.adjustments.append(.lastRow)
      (expected, self.readings, verdict, self.kept) = (reference.lastRow(), [last], nil, [lastRow])
    } else {
      (expected, self.readings, self.kept) = (reference, [], kept)
      lacksRows = Self.lacksRows(tensor, candidate, kept, total)
      verdict = lacksRows ? .missing : .otherShape(expected: tensor.shape, found: candidate.shape)
    }
    found = self.readings.first
  }

  /// - kept, total: the rows that a case keeps of the reference's tap; how many a run gives it.
  private static func lacksRows(
    _ reference: StoredTensor, _ candidate: StoredTensor, _ kept: [Int]?, _ total: Int?
  ) -> Bool {
    if candidate.digest != nil, kept != nil, let total {
      return candidate.shape == [total, TapView(reference).columns]
    }
    guard reference.digest != nil, candidate.digest == nil, reference.name == ModelTap.logits.rawValue else {
      return false
    }
    return !TapView.readings(
      of: candidate, like: [1, reference.columns], kept: nil, total: nil, heads: nil
    ).isEmpty
  }

  /// The verdict, with q and k read in the order in which the two sides have them.
  func judged(
    _ halfSplit: [RotaryPart: HalfSplit], _ parameters: Parameters?, _ run: RunDescription,
    _ piece: (Int) -> String?
  ) -> Comparison.Tap {
    guard let found else { return Comparison.Tap(name: name, limit: limit, verdict: verdict!) }
    let part = RotaryPart(tap: name)
    let order = part.flatMap { halfSplit[$0] }
    var tap = Comparison.Tap(name: name, limit: limit, verdict: verdict(of: found, order))
    switch tap.verdict {
    case .far(var distance), .undecided(var distance):
      let isFar = !tap.isUndecided
      distance.worstRowIndex = rowOfTap(distance.worstRowIndex)
      tap.verdict = isFar ? .far(distance) : .undecided(distance)
      tap.rowName = rowName(distance.worstRowIndex, run, piece)
      if let part, let headDim = parameters.map(part.headDim) ?? order?.headDim {
        let other = order == nil ? HalfSplit(side: .candidate, headDim: headDim) : nil
        tap.isCloseInOtherOrder = isClose(verdict(of: found, other))
      }
    case .close(var distance):
      distance.worstRowIndex = rowOfTap(distance.worstRowIndex)
      tap.verdict = .close(distance)
    case .nonFinite(let row, let column):
      tap.verdict = .nonFinite(row: rowOfTap(row), column: column)
      tap.rowName = rowName(rowOfTap(row), run, piece)
    default: break
    }
    return tap
  }

  /// The number that a compared row has in the tap.
  private func rowOfTap(_ row: Int) -> Int { kept?[row] ?? row }

  private func rowName(_ row: Int, _ run: RunDescription, _ piece: (Int) -> String?) -> String? {
    let rows = kept == nil ? expected.rows : run.rows(of: name) ?? expected.tensor.rows
    return run.name(ofRow: row, of: name, rows: rows, piece: piece)
  }

  /// A reading of the candidate and the reference's tap, one of them put from half-split order.
  func views(_ reading: TapView, _ order: HalfSplit?) -> (found: TapView, expected: TapView) {
    var (found, expected) = (reading, expected)
    switch order?.side {
    case .candidate: found.headDim = order?.headDim
    case .reference: expected.headDim = order?.headDim
    case nil: break
    }
    return (found, expected)
  }

  private func verdict(of reading: TapView, _ order: HalfSplit?) -> Comparison.Verdict {
    let (found, expected) = views(reading, order)
    guard found.tensor.digest != nil || expected.tensor.digest != nil else {
      return judge(found, against: expected, limit)
    }
    let (a, e) = (found.digest(), expected.digest())
    guard let distance = e.distance(to: a) else {
      return .otherNonFinite(expected: e.notFinite, found: a.notFinite)
    }
    return limit.verdict(distance)
  }

  /// How far the candidate is, read in one of its ways, if one side is in half-split order; nil if that
  /// cannot be said.
  func distance(of reading: TapView, _ order: HalfSplit?) -> (relF: Double, isClose: Bool)? {
    guard order.map({ reading.columns.isMultiple(of: $0.headDim) }) ?? true else { return nil }
    // A digest keeps no order that could be undone.
    let reordered = order?.side == .reference ? expected : reading
    if order != nil && reordered.tensor.digest != nil { return nil }
    let verdict = verdict(of: reading, order)
    switch verdict {
    case .close(let distance), .undecided(let distance), .far(let distance):
      return (distance.relF, isClose(verdict))
    default: return nil
    }
  }
}

extension TapPair {
  /// In which of some orders the candidate is nearest, by the first rows: as many as make 65,536 values.
  ///
  /// - Returns: nil where a side is a digest, which has no rows.
  func nearest(of orders: [HalfSplit], in reading: TapView) -> HalfSplit? {
    guard reading.tensor.digest == nil, expected.tensor.digest == nil else { return nil }
    var first = self
    let count = max(1, min(expected.rows, (1 << 16) / expected.columns))
    first.expected = expected.first(count)
    let few = reading.first(count)
    let distances = orders.map { (order: $0, relF: first.distance(of: few, $0)?.relF ?? .infinity) }
    return distances.min { $0.relF < $1.relF }?.order
  }
}

private func isClose(_ verdict: Comparison.Verdict) -> Bool {
  if case .close = verdict { true } else { false }
}

/// Positions that are not finite first, then the norm. Values are read a million at a time.
func judge(_ found: TapView, against expected: TapView, _ limit: DistanceLimit) -> Comparison.Verdict {
  let (rows, columns) = (expected.rows, expected.columns)
  let most = 1 << 20
  var sum = DistanceSum()
  if columns <= most {
    let step = most / columns
    for start in stride(from: 0, to: rows, by: step) {
      let block = start..<min(start + step, rows)
      let (e, a) = (expected.values(block), found.values(block))
      for row in 0..<block.count {
        let range = row * columns..<(row + 1) * columns
        if let column = sum.add(a.span.extracting(range), against: e.span.extracting(range)) {
          return .nonFinite(row: start + row, column: column)
        }
        sum.endRow()
      }
    }
  } else {
    for row in 0..<rows {
      for start in stride(from: 0, to: columns, by: most) {
        let part = start..<min(start + most, columns)
        let (e, a) = (expected.values(row, columns: part), found.values(row, columns: part))
        if let column = sum.add(a.span, against: e.span) {
          return .nonFinite(row: row, column: start + column)
        }
      }
      sum.endRow()
    }
  }
  return limit.verdict(sum.finish())
}
