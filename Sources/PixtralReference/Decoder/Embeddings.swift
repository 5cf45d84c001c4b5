/// Tokens to rows: each token's own embedding, except that the n-th `[IMG]` takes the n-th image
/// row. Model.md 6.2.
///
/// `[IMG_BREAK]` and `[IMG_END]` keep their own embeddings (M-scatter).
///
/// - imageRows: (P, dim), in the order of the prompt; nil for a prompt without images.
/// - table: (vocab_size, dim), the embeddings.
/// - Returns: (tokens, dim).
func splicedEmbeddings<Scalar: BLASScalar>(
  _ tokens: [Int], imageRows: Matrix<Scalar>?, table: StoredTensor, imageToken: Int
) -> Matrix<Scalar> {
  var values: [Scalar] = []
  values.reserveCapacity(tokens.count * table.columns)
  var nextImageRow = 0
  for token in tokens {
    if let imageRows, token == imageToken {
      values += imageRows.row(nextImageRow)
      nextImageRow += 1
    } else {
      values += table.rows(token..<token + 1).values
    }
  }
  precondition(nextImageRow == imageRows?.rows ?? 0, "as many [IMG] tokens as image rows")
  return Matrix(rows: tokens.count, columns: table.columns, values: values)
}
