import PixtralStorage
import TestSupport
import Testing

@testable import PixtralImage

@Suite("From RGB to pixels")
struct PixelsTests {
  @Test("RGB is stretched and normalised to mistral-common's pixels, within each case's own limit")
  func stretch() throws {
    let cases = try suite("image/pixels/stretch")
    expectRight(cases) { entry in
      let pixels = try pixels(of: entry)
      guard [3, pixels.height, pixels.width] == entry.expect["shape"]?.numbers else {
        return "shape"
      }
      return try fault(of: pixels.values, in: entry)
    }
  }

  @Test("A photograph's file becomes mistral-common's pixels, within the case's own limit")
  func photos() throws {
    let cases = try suite("image/pixels/photos")
    expectRight(cases) { entry in
      let file = try #require(entry.inputs["file"]?.text)
      let pixels = Pixels(try RGBImage(file: "\(fixtures)/cases/image/pixels/\(file)"))
      guard [3, pixels.height, pixels.width] == entry.expect["shape"]?.numbers else {
        return "shape"
      }
      let rows = try #require(entry.expect["rows"]?.numbers)
      let found = (0..<3).flatMap { channel in
        rows.flatMap { row in (0..<pixels.width).map { pixels[channel, row, $0] } }
      }
      return try fault(of: found, in: entry)
    }
  }

  @Test("transformers' pixels are not ours, by more than four times their limit")
  func huggingFace() throws {
    let cases = try suite("image/pixels/huggingface")
    expectRight(cases) { entry in
      let ours = try pixels(of: entry).values.map(Double.init)
      let theirs = try entry.expectedValues(in: "image/pixels").map(Double.init)
      let limit = try #require(entry.json["compare"]?["relF"]?.decimal)
      guard ours.count == theirs.count else { return nil }
      let distance = norm(zip(ours, theirs).map { $0 - $1 }) / norm(theirs)
      return distance > 4 * limit ? nil : "a distance of \(distance)"
    }
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
    let subject = try #require(entry.value["subject"])
    let rule = ImageRule(
      patchSize: try #require(subject["patch_size"]?.number),
      longestSide: try #require(subject["image_size"]?.number))
    return Pixels(try entry.json["inputs"]?.rgbImage() ?? #require(nil), rule: rule)
  }

  /// How samples pass the limit that the case sets on each; nil if they do not.
  private func fault(of found: [Float], in entry: Case) throws -> String? {
    let expected = try entry.expectedValues(in: "image/pixels")
    let limit = try #require(entry.json["compare"]?["max_abs"]?.decimal, "no limit")
    guard found.count == expected.count else { return "\(found.count) samples" }
    // `max()` would pass over NaN.
    let worst = zip(found, expected).reduce(Float(0)) {
      $1.0.isFinite ? max($0, abs($1.0 - $1.1)) : .infinity
    }
    return Double(worst) <= limit ? nil : "\(worst) over \(limit)"
  }

  private func norm(_ values: [Double]) -> Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }
}
