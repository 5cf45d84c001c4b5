import PixtralStorage

/// A tap of the reference, and the candidate's.
struct TapPair: Sendable {
  /// What a candidate has under a tap's name.
  enum Found {
    case matrix(StoredTensor)
    /// What has no values, or none that are floating-point numbers.
    case other(Safetensors.Tensor)
    case missing
  }

  let expected: TapView
  /// The ways in which the candidate's tensor can be read as the tap: none if there is none, or none of
  /// this shape and a dtype of numbers.
  let readings: [TapView]
  /// The reading that is judged.
  var found: TapView?
  let limit: DistanceLimit
  /// Whether a case set that limit.
  let limitIsOfCase: Bool
  /// The verdict, where it needs no look at the values.
  let verdict: Comparison.Verdict?
  /// Which rows of the tap these are, if not all or the last.
  let kept: [Int]?

  var name: String { expected.tensor.name }

  /// - model: the case that the reference is, if it is one.
  init(
    _ tensor: StoredTensor, _ candidate: Found, of model: CaseReference?, _ run: RunDescription,
    _ options: Comparison.Options
  ) {
    let reference = TapView(tensor)
    let kept = model?.rows[tensor.name]
    // What is stored in fewer bits than it was computed in is rounded.
    var arithmetics = [Arithmetic(storedAs: tensor.dtype)] + [options.arithmetic].compactMap(\.self)
    if case .matrix(let candidate) = candidate { arithmetics.append(Arithmetic(storedAs: candidate.dtype)) }
    let narrowest = arithmetics.max { $0.limit.relF < $1.limit.relF }!
    let limitOfCase = options.limit == nil ? model?.limit(tensor.name, narrowest) : nil
    limit = options.limit ?? limitOfCase ?? narrowest.limit
    limitIsOfCase = limitOfCase != nil

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
    let total = run.rows(of: tensor.name)
    let readings = TapView.readings(of: candidate, like: reference, kept: kept, total: total)
    if !readings.isEmpty {
      (expected, self.readings, verdict, self.kept) = (reference, readings, nil, kept)
    } else if let last = Self.lastRow(candidate, reference, kept, total) {
      (expected, self.readings, verdict) = (reference.lastRow(), [last], nil)
      self.kept = kept?.suffix(1)
    } else {
      (expected, self.readings, self.kept) = (reference, [], kept)
      verdict = .otherShape(expected: tensor.shape, found: candidate.shape)
    }
    found = self.readings.first
  }

  /// Exactly one row of logits, where the reference has more and the last among them: any other number
  /// is another run's.
  private static func lastRow(_ candidate: StoredTensor, _ reference: TapView, _ kept: [Int]?, _ total: Int?)
    -> TapView?
  {
    guard candidate.name == ModelTap.logits.rawValue, kept == nil || kept?.last == total.map({ $0 - 1 }),
      var view = TapView.readings(of: candidate, like: reference.lastRow(), kept: nil, total: nil).first,
      !view.adjustments.contains(.lastRow)
    else { return nil }
    view.adjustments.append(.lastRow)
    return view
  }

  /// The verdict, with q and k read in the order in which the candidate has them.
  func judged(
    _ halfSplit: [RotaryPart: Int], _ parameters: Parameters?, _ run: RunDescription,
    _ piece: (Int) -> String?
  ) -> Comparison.Tap {
    guard var found else { return Comparison.Tap(name: name, limit: limit, verdict: verdict!) }
    let part = RotaryPart(tap: name)
    if let part { found.headDim = halfSplit[part] }
    let verdict = judge(found, against: expected, limit)
    var tap = Comparison.Tap(name: name, limit: limit, verdict: verdict)
    switch verdict {
    case .far(let distance):
      tap.rowName = rowName(distance.worstRowIndex, run, piece)
      if let part, let headDim = parameters.map(part.headDim) ?? halfSplit[part] {
        found.headDim = found.headDim == nil ? headDim : nil
        tap.isCloseInOtherOrder = isClose(judge(found, against: expected, limit))
      }
    case .nonFinite(let row, _): tap.rowName = rowName(row, run, piece)
    default: break
    }
    return tap
  }

  private func rowName(_ row: Int, _ run: RunDescription, _ piece: (Int) -> String?) -> String? {
    if let kept, let total = run.rows(of: name) {
      return run.name(ofRow: kept[row], of: name, rows: total, piece: piece)
    }
    return run.name(ofRow: row, of: name, rows: expected.rows, piece: piece)
  }

  /// How far the candidate is, read in one of its ways and with the columns of a head of so many in
  /// half-split order; nil if that cannot be said.
  func distance(of reading: TapView, halfSplit headDim: Int?) -> (relF: Double, isClose: Bool)? {
    guard headDim.map({ reading.columns % $0 == 0 }) ?? true else { return nil }
    var found = reading
    found.headDim = headDim
    let verdict = judge(found, against: expected, limit)
    switch verdict {
    case .close(let distance), .far(let distance): return (distance.relF, isClose(verdict))
    default: return nil
    }
  }
}

private func isClose(_ verdict: Comparison.Verdict) -> Bool {
  if case .close = verdict { true } else { false }
}

/// Positions that are not finite first, then the norm. Values are read a million at a time.
private func judge(_ found: TapView, against expected: TapView, _ limit: DistanceLimit) -> Comparison.Verdict
{
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
  let distance = sum.finish()
  return limit.allows(distance) ? .close(distance) : .far(distance)
}
