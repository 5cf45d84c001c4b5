import TestSupport
import Testing

@testable import PixtralImage

@Suite("From a size to a grid")
struct GridTests {
  @Test("Every size of the table has mistral-common's grid")
  func basics() throws {
    let cases = try suite("image/grid/basics")
    expectRight(cases) { entry in
      let (grid, found) = try read(entry)
      return found == grid ? nil : "expected \(shown(grid)), found \(shown(found))"
    }
  }

  @Test("transformers' grid, or its refusal, is marked as another exactly where ours is another")
  func huggingFace() throws {
    let cases = try suite("image/grid/huggingface") + suite("image/grid/huggingface-refused")
    expectRight(cases) { entry in
      let (grid, found) = try read(entry)
      let isMarked = entry.value["conflicts_with"]?.list?.isEmpty == false
      return (found != grid) == isMarked ? nil : "\(shown(grid)), ours \(shown(found))"
    }
  }

  private func shown(_ grid: PatchGrid?) -> String {
    grid.map { "\($0.columns)×\($0.rows) patches" } ?? "a refusal"
  }

  private func read(_ entry: Case) throws -> (expected: PatchGrid?, found: PatchGrid) {
    let width = try #require(entry.inputs["width"]?.number)
    let height = try #require(entry.inputs["height"]?.number)
    let found = ImageRule.m1.grid(width: width, height: height)
    if entry.expect["reject"] != nil { return (nil, found) }
    let expected = PatchGrid(
      columns: try #require(entry.expect["columns"]?.number), rows: try #require(entry.expect["rows"]?.number)
    )
    return (expected, found)
  }
}
