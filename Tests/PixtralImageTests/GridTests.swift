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
      return found == grid ? nil : "\(size): expected \(shown(grid)), found \(shown(found))"
    }
    expectNone(wrong, of: cases.count)
  }

  @Test("transformers' grid, or its refusal, is marked as another exactly where ours is another")
  func huggingFace() throws {
    let cases = try suite("image/grid/huggingface") + suite("image/grid/huggingface-refused")
    let wrong = try cases.compactMap { entry -> String? in
      let (size, grid, found) = try read(entry)
      let isMarked = entry.value["conflicts_with"]?.list?.isEmpty == false
      return (found != grid) == isMarked ? nil : "\(size): \(shown(grid)), ours \(shown(found))"
    }
    expectNone(wrong, of: cases.count)
  }

  private func shown(_ grid: PatchGrid?) -> String {
    grid.map { "\($0.columns)×\($0.rows) patches" } ?? "a refusal"
  }

  private func read(_ entry: Case) throws -> (size: String, expected: PatchGrid?, found: PatchGrid) {
    let width = try #require(entry.inputs["width"]?.number)
    let height = try #require(entry.inputs["height"]?.number)
    let found = ImageRule.m1.grid(width: width, height: height)
    if entry.expect["reject"] != nil { return ("\(width)×\(height)", nil, found) }
    let expected = PatchGrid(
      columns: try #require(entry.expect["columns"]?.number), rows: try #require(entry.expect["rows"]?.number)
    )
    return ("\(width)×\(height)", expected, found)
  }
}
