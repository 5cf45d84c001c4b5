import PixtralImage

extension Rotation {
  /// The angles of patches that have a row and a column. Model.md 5.3.
  ///
  /// There is one list of head_dim / 2 frequencies: the even-indexed ones turn with the row, the
  /// odd-indexed ones with the column, and the row's come first. Rows and columns restart at 0 in
  /// each image.
  init(grids: [PatchGrid], theta: Double, headDim: Int) {
    let frequencies = rotaryFrequencies(theta: theta, headDim: headDim)
    let forRows = stride(from: 0, to: frequencies.count, by: 2).map { frequencies[$0] }
    let forColumns = stride(from: 1, to: frequencies.count, by: 2).map { frequencies[$0] }
    self.init(
      angles: grids.flatMap { grid in
        (0..<grid.rows).flatMap { row in
          (0..<grid.columns).map { column in
            forRows.map { Double(row) * $0 } + forColumns.map { Double(column) * $0 }
          }
        }
      })
  }
}
