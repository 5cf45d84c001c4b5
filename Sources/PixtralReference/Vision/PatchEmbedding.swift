import PixtralImage

/// The patches of all images as rows, ready for one product with the convolution's kernel. Model.md
/// 5.1.
///
/// A patch is flattened as (channel, y, x), which is how the kernel `[E, C, p, p]` lies in memory;
/// so the convolution, whose stride is its size, is a linear layer. Images follow one another, each
/// row by row.
///
/// - Returns: (patches of all images, C · p · p).
func flattenedPatches<Scalar: BLASScalar>(of images: [Pixels], patchSize p: Int) -> Matrix<Scalar> {
  let rows = images.reduce(0) { $0 + $1.grid(patchSize: p).patches }
  let columns = Pixels.channels * p * p
  var values: [Scalar] = []
  values.reserveCapacity(rows * columns)
  for image in images {
    let grid = image.grid(patchSize: p)
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
