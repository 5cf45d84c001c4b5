import Foundation
import Testing

@testable import PixtralReference

@Suite("From a size to a grid, from RGB to pixels")
struct ImageTests {
  @Test("A size in pixels becomes mistral-common's grid", arguments: try! cases("image/grid/basics.jsonl"))
  func grid(entry: Case) throws {
    let width = try #require(entry.inputs["width"]?.integer)
    let height = try #require(entry.inputs["height"]?.integer)
    let grid = ImageRule.m1.grid(width: width, height: height)
    #expect(grid.columns == entry.expect["columns"]?.integer, "\(entry.title)")
    #expect(grid.rows == entry.expect["rows"]?.integer, "\(entry.title)")
  }

  @Test("RGB is stretched and normalised to mistral-common's pixels", arguments: try! cases("image/pixels/stretch.jsonl"))
  func stretch(entry: Case) throws {
    let pixels = try pixels(of: entry)
    #expect([3, pixels.height, pixels.width] == entry.expect["shape"]?.integers)
    let expected = try entry.expectedValues(in: "image/pixels")
    #expect(largestDifference(pixels.values, expected) <= 1e-5, "\(entry.title)")
  }

  @Test("A photograph's file becomes mistral-common's pixels", arguments: try! cases("image/pixels/photos.jsonl"))
  func photos(entry: Case) throws {
    let file = try #require(entry.inputs["file"]?.string)
    let pixels = Pixels(try RGBImage(file: "\(fixtures)/cases/image/pixels/\(file)"), rule: .m1)
    #expect([3, pixels.height, pixels.width] == entry.expect["shape"]?.integers)
    let rows = try #require(entry.expect["rows"]?.integers)
    let found = (0..<3).flatMap { channel in rows.flatMap { row in (0..<pixels.width).map { pixels[channel, row, $0] } } }
    #expect(largestDifference(found, try entry.expectedValues(in: "image/pixels")) <= 1e-5)
  }

  @Test("transformers' pixels are not ours, by more than their limit", arguments: try! cases("image/pixels/huggingface.jsonl"))
  func huggingFacePixels(entry: Case) throws {
    #expect(entry.json["conflicts_with"]?.strings == [entry.id.replacing("huggingface-", with: "")])
    let (ours, theirs) = (try pixels(of: entry).values.map(Double.init), try entry.expectedValues(in: "image/pixels").map(Double.init))
    let limit = try #require(entry.json["compare"]?["relF"]?.double)
    let isOtherSize = ours.count != theirs.count
    #expect(isOtherSize || norm(zip(ours, theirs).map { $0 - $1 }) / norm(theirs) > 4 * limit, "\(entry.title)")
  }

  @Test("Where transformers' grid is marked as another, ours is none of its own", arguments: try! cases("image/grid/huggingface.jsonl"))
  func huggingFaceGrid(entry: Case) throws {
    let grid = ImageRule.m1.grid(width: try #require(entry.inputs["width"]?.integer), height: try #require(entry.inputs["height"]?.integer))
    let isSame = grid.columns == entry.expect["columns"]?.integer && grid.rows == entry.expect["rows"]?.integer
    #expect(isSame == (entry.json["conflicts_with"]?.array?.isEmpty == true))
  }

  @Test("An image of the right size is not touched, and is normalised by mean and deviation")
  func rightSize() {
    let image = RGBImage(ImageSize(width: 2, height: 2), samples: [UInt8](repeating: 255, count: 12))
    let pixels = Pixels(image, rule: ImageRule(patchSize: 2, longestSide: 2))
    let (red, blue): (Float, Float) = ((1 - 0.48145466) / 0.26862954, (1 - 0.40821073) / 0.27577711)
    #expect(abs(pixels[0, 1, 1] - red) < 1e-6)
    #expect(abs(pixels[2, 0, 0] - blue) < 1e-6)
  }

  private func pixels(of entry: Case) throws -> Pixels {
    let subject = try #require(entry.json["subject"])
    let rule = ImageRule(
      patchSize: try #require(subject["patch_size"]?.integer), longestSide: try #require(subject["image_size"]?.integer))
    return Pixels(try entry.inputs.rgbImage(), rule: rule)
  }

  private func largestDifference(_ found: [Float], _ expected: [Float]) -> Float {
    guard found.count == expected.count else { return .infinity }
    return zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
  }

  private func norm(_ values: [Double]) -> Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }
}
