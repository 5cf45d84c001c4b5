/// Tokens to rows: each token's own embedding, except that the n-th `[IMG]` takes the n-th image row. Model.md 6.2.
///
/// `[IMG_BREAK]` and `[IMG_END]` keep their own embeddings.
///
/// - imageRows: (P, dim), in the order of the prompt; nil for a prompt without images.
/// - Returns: (tokens, dim).
func embeddings<Scalar: Real>(
  _ tokens: [Int], imageRows: Matrix<Scalar>?, checkpoint: Checkpoint
) -> Matrix<Scalar> {
  let table = checkpoint.weight("tok_embeddings.weight")
  let imageToken = checkpoint.parameters.vision.imageToken
  var nextImageRow = 0
  let matrix = Matrix<Scalar>(rows: tokens.count, columns: table.columns) { out in
    for (position, token) in tokens.enumerated() {
      let row = out + position * table.columns
      if let imageRows, token == imageToken {
        imageRows.values.withUnsafeBufferPointer {
          row.update(from: $0.baseAddress! + nextImageRow * table.columns, count: table.columns)
        }
        nextImageRow += 1
      } else {
        table.read(token..<token + 1, into: row)
      }
    }
  }
  precondition(nextImageRow == imageRows?.rows ?? 0, "as many [IMG] tokens as image rows")
  return matrix
}
