/// In which order the columns of a head of q and k stand. Trace.md, q and k in transformers' order.
package enum RotaryOrder: String, Sendable {
  /// Columns 2i and 2i + 1 are rotated together: Mistral's order, and that of the taps.
  case adjacent
  /// Columns i and head_dim/2 + i are: Hugging Face's.
  case halfSplit = "half-split"
}

/// A row of q or k from half-split order to adjacent pairs.
func adjacentPairs(_ row: [Double], headDim: Int) -> [Double] {
  var pairs = row
  for column in row.indices {
    let within = column % headDim
    let source = within / 2 + (within.isMultiple(of: 2) ? 0 : headDim / 2)
    pairs[column] = row[column - within + source]
  }
  return pairs
}

/// A side of a comparison that has q and k of a part of the model in half-split order.
struct HalfSplit: Sendable {
  enum Side: Sendable, CaseIterable { case candidate, reference }
  let side: Side
  /// Columns of a head.
  let headDim: Int
}

/// The two parts of the model that rotate.
enum RotaryPart: String, Sendable, CaseIterable {
  case vision, decoder

  /// The part whose q or k, rotated or not, a tap is; nil for any other tap.
  init?(tap: String) {
    guard [LayerTap.q, .k, .qRotated, .kRotated].contains(where: { tap.hasSuffix(".\($0.rawValue)") }),
      let part = Self.allCases.first(where: { tap.hasPrefix("\($0.rawValue).layers.") })
    else { return nil }
    self = part
  }

  /// Columns of a head.
  func headDim(_ parameters: Parameters) -> Int {
    switch self {
    case .vision: parameters.vision.headDim
    case .decoder: parameters.headDim
    }
  }
}

/// What the q and k of a part show of their order.
enum RotaryReading: Sendable {
  case adjacent
  case halfSplit(HalfSplit)
  /// They are near in neither.
  case unclear
}

/// In which order the sides have q and k of a part: the first q that is close in either order says it.
/// Where none is, it must be plain all the same: the q that is nearest in one of them is then less than
/// half as far as in the other. (Without any q: q_rotated, k, k_rotated.)
///
/// Where neither side says how wide a head is, the first rows choose among the widths that it may have.
///
/// - parameters: nil if neither side says them.
/// - isBare: whether the reference is a file of any runtime, which may have half-split order itself.
/// - Returns: nil where there is nothing to see it by.
func rotaryReading(_ pairs: [TapPair], of part: RotaryPart, _ parameters: Parameters?, isBare: Bool)
  -> RotaryReading?
{
  let rotary = pairs.filter { RotaryPart(tap: $0.name) == part && $0.found != nil }
  let witnesses = [LayerTap.q, .qRotated, .k, .kRotated].lazy
    .map { tap in rotary.filter { $0.name.hasSuffix(".\(tap.rawValue)") } }.first { !$0.isEmpty }
  let sides: [HalfSplit.Side] = isBare ? [.candidate, .reference] : [.candidate]
  var (adjacent, split) = (Double.infinity, Double.infinity)
  var nearest: HalfSplit?
  for pair in witnesses ?? [] {
    guard let found = pair.found, let asIs = pair.distance(of: found, nil) else { continue }
    if asIs.isClose { return .adjacent }
    let widths = parameters.map { [part.headDim($0)] } ?? evenDivisors(of: pair.expected.columns)
    var orders = sides.flatMap { side in widths.map { HalfSplit(side: side, headDim: $0) } }
    if orders.count > 1, let nearest = pair.nearest(of: orders, in: found) { orders = [nearest] }
    var best = (relF: Double.infinity, order: HalfSplit?.none)
    for order in orders {
      guard let distance = pair.distance(of: found, order) else { continue }
      if distance.isClose { return .halfSplit(order) }
      if distance.relF < best.relF { best = (distance.relF, order) }
    }
    // Of digests no other order can be tried.
    if best.order == nil && !widths.isEmpty { continue }
    if min(asIs.relF, best.relF) < min(adjacent, split) {
      (adjacent, split, nearest) = (asIs.relF, best.relF, best.order)
    }
  }
  if let nearest, split < adjacent / 2 { return .halfSplit(nearest) }
  if adjacent < split / 2 { return .adjacent }
  return rotary.isEmpty ? nil : .unclear
}

/// The widths that a head may have where nobody says it; in one of two columns both orders are one. No model has
/// heads of more than 1,024, or more columns than a parameter may be.
private func evenDivisors(of columns: Int) -> [Int] {
  guard (4...ParameterSection.largest).contains(columns) else { return [] }
  return stride(from: 4, through: min(columns, 1024), by: 2).filter { columns.isMultiple(of: $0) }
}
