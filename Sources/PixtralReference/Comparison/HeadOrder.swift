/// Chooses how `[n, n, d]` is read where a tap has n rows and n heads: as `[rows, heads, head_dim]` or
/// as `[heads, rows, head_dim]`.
///
/// A runtime keeps a tap in the same form in every layer: the first layer in which one reading is
/// close decides for all, else the one in which a reading is nearest.
func chooseReadings(_ pairs: inout [TapPair]) {
  let ambiguous = pairs.indices.filter { pairs[$0].readings.count > 1 }
  // vision.layers.3.attention.q: every vision.layers.*.attention.q
  let kinds = Dictionary(grouping: ambiguous) { n in
    pairs[n].name.split(separator: ".").filter { Int($0) == nil }.joined(separator: ".")
  }
  for indices in kinds.values {
    let chosen = nearestReading(indices.map { pairs[$0] })
    for n in indices { pairs[n].found = pairs[n].readings[chosen] }
  }
}

/// - pairs: one tap, layer after layer.
private func nearestReading(_ pairs: [TapPair]) -> Int {
  var nearest = (relF: Double.infinity, reading: 0)
  for pair in pairs {
    for (n, reading) in pair.readings.enumerated() {
      // q and k may be in half-split order as well.
      let headDim = RotaryPart(tap: pair.name) == nil ? nil : reading.tensor.shape.last
      for order in [nil] + [headDim].compactMap({ $0.map { HalfSplit(side: .candidate, headDim: $0) } }) {
        guard let distance = pair.distance(of: reading, order) else { continue }
        if distance.isClose { return n }
        if distance.relF < nearest.relF { nearest = (distance.relF, n) }
      }
    }
  }
  return nearest.reading
}
