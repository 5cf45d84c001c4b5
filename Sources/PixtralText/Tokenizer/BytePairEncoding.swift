/// Byte-pair encoding, plainly: the definition of how text becomes tokens. Tokens.md 2.
///
/// `FastMerge` and `PieceTable` make it fast: `Tokenizer.encode` must give the same tokens for every
/// text. (A Swift string cannot hold what 2.1 refuses.)
package struct BytePairEncoding {
  /// Ids of the normal pieces, by their bytes in UTF-8: Swift's own comparison of strings takes two
  /// spellings of `é` for one.
  private var ids: [[UInt8]: Int] = [:]
  private let vocabulary: Vocabulary

  package init(_ vocabulary: Vocabulary) {
    self.vocabulary = vocabulary
    for (id, piece) in vocabulary.pieces.enumerated() where piece.kind == .normal {
      ids[Array(piece.text.utf8)] = id
    }
  }

  /// The tokens of one stretch of text; none for no text.
  package func encode(_ text: String) -> [Int] {
    if text.isEmpty { return [] }
    // A ▁ goes in front, and every space is one. 2.3
    let scalars = ["▁"] + text.unicodeScalars.map { $0 == " " ? "▁" : $0 }
    var tokens: [Int] = []
    // User-defined pieces stand for themselves, the longest first; what lies between is merged. 2.4
    var stretch: [Unicode.Scalar] = []
    var at = 0
    while at < scalars.count {
      if let piece = vocabulary.userDefined.first(where: {
        scalars[at...].starts(with: $0.text.unicodeScalars)
      }) {
        tokens += merged(stretch) + [piece.id]
        stretch = []
        at += piece.text.unicodeScalars.count
      } else {
        stretch.append(scalars[at])
        at += 1
      }
    }
    return tokens + merged(stretch)
  }

  /// The tokens of characters that no user-defined piece interrupts.
  private func merged(_ scalars: [Unicode.Scalar]) -> [Int] {
    // At first a symbol is a Unicode scalar, never a grapheme cluster (T-graphemes). 2.5
    var symbols = scalars.map { Array(String($0).utf8) }
    // Two neighbours that together are a piece become it: the best first, until there are none. 2.7
    while let left = bestPair(symbols) { symbols[left] += symbols.remove(at: left + 1) }
    // A symbol that is no piece becomes its bytes. 2.8
    return symbols.flatMap { symbol in
      ids[symbol].map { [$0] } ?? symbol.map { vocabulary.firstByte + Int($0) }
    }
  }

  /// The left one of the two neighbours to merge next: those of the best score, and of equal scores
  /// the leftmost; never by the piece's id (T-merge-order).
  private func bestPair(_ symbols: [[UInt8]]) -> Int? {
    var best: (left: Int, score: Float)?
    for left in symbols.indices.dropLast() {
      guard let id = ids[symbols[left] + symbols[left + 1]] else { continue }
      let score = vocabulary.pieces[id].score
      if best.map({ score > $0.score }) ?? true { best = (left, score) }
    }
    return best?.left
  }
}
