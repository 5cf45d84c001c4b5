import PixtralImage
import TestSupport
import Testing

@testable import PixtralReference

/// Tokens from elsewhere, of one image of 2×2 patches or of two: the small model's ids are 10, 14 and
/// 15.
@Suite("Warnings of odd tokens")
struct PromptWarningTests {
  private func warnings(_ tokens: [Int], _ grids: [(Int, Int)] = [(2, 2)]) throws -> [String] {
    let shape = PromptShape(
      tokens, grids.map { (nil, PatchGrid(columns: $0.0, rows: $0.1)) }, patchSize: 2)
    return shape.warnings(for: try Checkpoint("seeded:tiny").parameters)
  }

  @Test("Tokens by the rule have none")
  func right() throws {
    #expect(try warnings([1, 10, 10, 14, 10, 10, 15, 5]) == [])
    #expect(try warnings([1, 10, 14, 10, 15, 10, 10, 15], [(1, 2), (2, 1)]) == [])
  }

  @Test("A missing beginning, and a second one")
  func beginning() throws {
    #expect(try warnings([5], []) == ["token 0: expected 1, the beginning of every prompt, found 5"])
    #expect(try warnings([1, 1, 5], []) == ["token 1: expected 1 at the beginning only, found it again"])
  }

  @Test(
    "The first token of an image that is not the rule's is named, with its row",
    arguments: [
      (
        [1, 10, 10, 12, 10, 10, 13],
        "token 3: expected [IMG_BREAK] (14) in row 0 of image 0, of 2×2 patches, found 12; 12 and 13 are the ids of Pixtral 12B"
      ),
      (
        [1, 10, 10, 10, 10, 15],
        "token 3: expected [IMG_BREAK] (14) in row 0 of image 0, of 2×2 patches, found 10"
      ),
      (
        [1, 10, 10, 14, 10, 10],
        "token 6: expected [IMG_END] (15) in row 1 of image 0, of 2×2 patches, found the end"
      ),
      (
        [1, 10, 10, 14, 10, 10, 14, 15],
        "token 6: expected [IMG_END] (15) in row 1 of image 0, of 2×2 patches, found 14"
      ),
      (
        [1, 10, 14, 10, 10, 10, 15],
        "token 2: expected [IMG] (10) in row 0 of image 0, of 2×2 patches, found 14"
      ),
    ])
  func image(tokens: [Int], warning: String) throws { #expect(try warnings(tokens) == [warning]) }

  @Test("Two images whose shapes are swapped have as many patches, and a warning each")
  func swapped() throws {
    let found = try warnings([1, 10, 14, 10, 15, 10, 10, 15], [(2, 1), (1, 2)])
    #expect(found.count == 2)
    #expect(found[0].hasPrefix("token 2: expected [IMG] (10) in row 0 of image 0"))
  }

  @Test("A break or an end outside of an image")
  func stray() throws {
    #expect(
      try warnings([1, 14, 10, 10, 14, 10, 10, 15, 5, 15]) == [
        "token 1: expected no [IMG_BREAK] outside of an image, found one before image 0",
        "token 9: expected no [IMG_END] outside of an image, found one behind the last image",
      ])
  }
}
