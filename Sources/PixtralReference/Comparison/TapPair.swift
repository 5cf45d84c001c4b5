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
  /// nil if there is none, or none of this shape and a dtype of numbers.
  let found: TapView?
  let limit: DistanceLimit
  /// The verdict, where it needs no look at the values.
  private let verdict: Comparison.Verdict?
  /// Of a case: which rows of the tap these are.
  let kept: [Int]?

  var name: String { expected.tensor.name }

  /// - model: the case that the reference is, if it is one.
  init(_ tensor: StoredTensor, _ candidate: Found, of model: ModelCaseLimits?, _ options: Comparison.Options)
  {
    let reference = TapView(tensor)
    kept = model?.rows[tensor.name]
    // What is stored in fewer bits than it was computed in is rounded.
    var arithmetics = [Arithmetic(storedAs: tensor.dtype)] + [options.arithmetic].compactMap(\.self)
    if case .matrix(let candidate) = candidate { arithmetics.append(Arithmetic(storedAs: candidate.dtype)) }
    let narrowest = arithmetics.max { $0.limit.relF < $1.limit.relF }!
    limit = options.limit ?? model?.limit(tensor.name, narrowest) ?? narrowest.limit

    guard case .matrix(let candidate) = candidate else {
      (expected, found) = (reference, nil)
      verdict =
        switch candidate {
        case .other(let other) where other.dtype == nil: .otherDType(other.typeName)
        case .other(let other): .otherShape(expected: tensor.shape, found: other.shape)
        default: .missing
        }
      return
    }
    if let view = TapView(candidate, like: reference, kept: kept) {
      (expected, found, verdict) = (reference, view, nil)
    } else if tensor.name == ModelTap.logits.rawValue, kept == nil,
      var view = TapView(candidate, like: reference.lastRow(), kept: nil),
      !view.adjustments.contains(.lastRow)
    {
      // Exactly one row: any other number is another run's.
      view.adjustments.append(.lastRow)
      (expected, found, verdict) = (reference.lastRow(), view, nil)
    } else {
      (expected, found) = (reference, nil)
      verdict = .otherShape(expected: tensor.shape, found: candidate.shape)
    }
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
    if let kept { return run.name(ofRow: kept[row], of: name, rows: run.tokens.count, piece: piece) }
    return run.name(ofRow: row, of: name, rows: expected.rows, piece: piece)
  }

  func distance(halfSplit headDim: Int?) -> (relF: Double, isClose: Bool)? {
    guard var found, headDim.map({ found.columns % $0 == 0 }) ?? true else { return nil }
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
