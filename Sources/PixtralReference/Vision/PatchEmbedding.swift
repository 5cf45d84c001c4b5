import PixtralImage

/// The patches of all images as rows, ready for one product with the convolution's kernel. Model.md
/// 5.1.
///
/// A patch is flattened as (channel, y, x), which is how the kernel `[E, C, p, p]` lies in memory;
/// so the convolution, whose stride is its size, is a linear layer. Images follow one another, each
/// row by row.
///
/// - grids: of the images.
/// - pixels: the samples of the n-th image, asked for once and in order: one image at a time is in
///   memory.
/// - Returns: (patches of all images, C · p · p).
func flattenedPatches<Scalar: BLASScalar>(
  of grids: [PatchGrid], patchSize p: Int, pixels: (Int) throws -> Pixels
) rethrows -> Matrix<Scalar> {
  let rows = grids.reduce(0) { $0 + $1.patches }
  let columns = Pixels.channels * p * p
  var values: [Scalar] = []
  values.reserveCapacity(rows * columns)
  for (n, grid) in grids.enumerated() {
    let image = try pixels(n)
    precondition(image.grid(patchSize: p) == grid, "image \(n) of the planned size")
    for row in 0..<grid.rows {
      for column in 0..<grid.columns {
        for channel in 0..<Pixels.channels {
          for y in row * p..<(row + 1) * p {
            for x in column * p..<(column + 1) * p { values.append(Scalar(image[channel, y, x])) }
          }
        }
      }
    }
  }
  return Matrix(rows: rows, columns: columns, values: values)
}
