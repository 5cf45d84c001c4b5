import PixtralImage

/// An image in a prompt: each row its `[IMG]`s and an `[IMG_BREAK]`, the last break an `[IMG_END]`.
/// Model.md 4.5.
///
/// The ids are 14 and 15 here; Tekken's, of Pixtral 12B, are 12 and 13 (L-ids). No row has both
/// (L-extra-break).
func imageTokens(_ grid: PatchGrid) -> [Int] {
  let row =
    [Int](repeating: V7Token.image.rawValue, count: grid.columns) + [V7Token.imageBreak.rawValue]
  return (0..<grid.rows).flatMap { _ in row }.dropLast() + [V7Token.imageEnd.rawValue]
}
