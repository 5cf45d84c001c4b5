import TestSupport
import Testing

@testable import PixtralImage

@Suite("From a size to a grid")
struct GridTests {
  @Test("Every size of the table has mistral-common's grid")
  func basics() throws {
    let cases = try suite("image/grid/basics")
    let wrong = try cases.compactMap { entry -> String? in
      let (size, grid, found) = try read(entry)
      return found == grid ? nil : "\(size): expected \(grid), found \(found)"
    }
    expectNone(wrong, of: cases.count)
  }

  @Test("Where transformers' grid is marked as another, ours is none of its own")
  func huggingFace() throws {
    let cases = try suite("image/grid/huggingface")
    let wrong = try cases.compactMap { entry -> String? in
      let (size, grid, found) = try read(entry)
      let isMarked = entry.value["conflicts_with"]?.list?.isEmpty == false
      return (found != grid) == isMarked ? nil : "\(size): \(grid), ours \(found)"
    }
    expectNone(wrong, of: cases.count)
  }

  private func read(_ entry: Case) throws -> (size: String, expected: PatchGrid, found: PatchGrid) {
    let width = try #require(entry.inputs["width"]?.number)
    let height = try #require(entry.inputs["height"]?.number)
    let expected = PatchGrid(
      columns: try #require(entry.expect["columns"]?.number), rows: try #require(entry.expect["rows"]?.number)
    )
    return ("\(width)×\(height)", expected, ImageRule.m1.grid(width: width, height: height))
  }
}
