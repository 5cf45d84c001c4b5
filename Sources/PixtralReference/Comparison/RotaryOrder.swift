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

/// Whether a candidate has q and k of a part in half-split order: the first q that is close in either
/// order says it. Where none is, it must be plain all the same: the q that is nearest in one of them is
/// then less than half as far as in the other. (k, where there is no q.)
///
/// - Returns: the columns of a head; nil for adjacent pairs.
func halfSplitHeadDim(_ pairs: [TapPair], of part: RotaryPart, _ parameters: Parameters?)
  -> Int?
{
  let rotary = pairs.filter { RotaryPart(tap: $0.name) == part && $0.found != nil }
  let witnesses = [LayerTap.q, .qRotated, .k, .kRotated].lazy
    .map { tap in rotary.filter { $0.name.hasSuffix(".\(tap.rawValue)") } }.first { !$0.isEmpty }
  var nearest = (relF: Double.infinity, headDim: Int?.none)
  for pair in witnesses ?? [] {
    guard let found = pair.found, let adjacent = pair.distance(of: found, halfSplit: nil) else { continue }
    if adjacent.isClose { return nil }
    if adjacent.relF < nearest.relF { nearest = (adjacent.relF, nil) }
    let widths = parameters.map { [part.headDim($0)] } ?? evenDivisors(of: pair.expected.columns)
    for headDim in widths {
      guard let distance = pair.distance(of: found, halfSplit: headDim) else { continue }
      if distance.isClose { return headDim }
      if distance.relF < min(nearest.relF, adjacent.relF / 2) { nearest = (distance.relF, headDim) }
    }
  }
  return nearest.headDim
}

/// The widths that a head may have where nobody says it; in one of two columns both orders are one.
private func evenDivisors(of columns: Int) -> [Int] {
  columns < 4 ? [] : stride(from: 4, through: columns, by: 2).filter { columns.isMultiple(of: $0) }
}
