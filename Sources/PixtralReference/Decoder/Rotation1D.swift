extension Rotation {
  /// The angles of tokens at these positions. Model.md 7.3.
  init(positions: some Sequence<Int>, theta: Double, headDim: Int) {
    let frequencies = rotaryFrequencies(theta: theta, headDim: headDim)
    self.init(angles: positions.map { position in frequencies.map { Double(position) * $0 } })
  }
}
