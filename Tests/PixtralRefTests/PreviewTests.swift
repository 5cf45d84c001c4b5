import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import pixtral_ref

@Suite("The picture for people")
struct PreviewTests {
  @Test("It has the resized pixels between lines, and a mark behind each row")
  func drawing() throws {
    let image = try RGBImage(file: "\(fixtures)/images/astronaut.png")  // 512×512: no pixel is changed
    let preview = Preview.draw(image)
    func pixel(_ x: Int, _ y: Int) -> [UInt8] {
      Array(preview.samples[(y * preview.width + x) * 3..<(y * preview.width + x) * 3 + 3])
    }
    func original(_ x: Int, _ y: Int) -> [UInt8] {
      Array(image.samples[(y * 512 + x) * 3..<(y * 512 + x) * 3 + 3])
    }
    let (left, top) = (8 + 1, 64 + 1)  // behind the margin, the captions and the first line
    #expect(pixel(left, top) == original(0, 0))
    #expect(pixel(left + 15, top + 15) == original(15, 15))
    #expect(pixel(left + 16, top) == pixel(left - 1, top), "a line between patches")
    #expect(pixel(left + 17, top + 17) == original(16, 16))
    let mark = left + 32 * 17 + 8
    #expect(pixel(mark, top) == [255, 176, 0], "[IMG_BREAK]")
    #expect(pixel(mark, top + 31 * 17) == [240, 60, 60], "[IMG_END]")
  }

  @Test(
    "Small images are enlarged, large ones are not",
    arguments: [("model-alpha", "png", 40), ("model-large", "jpg", 1)])
  func zoom(name: String, type: String, zoom: Int) throws {
    let image = try RGBImage(file: "\(fixtures)/images/\(name).\(type)")
    let grid = ImageRule.m1.grid(width: image.width, height: image.height)
    #expect(Preview.draw(image).height == 64 + grid.rows * (16 * zoom + 1) + 1 + 8)
  }

  @Test("It is a PNG that can be read", arguments: [(1, 1), (3000, 1), (1, 3000)])
  func file(width: Int, height: Int) throws {
    let folder = try TemporaryFolder()
    let image = RGBImage(
      ImageSize(width: width, height: height), samples: [UInt8](repeating: 7, count: width * height * 3))
    let path = try folder.write("p.png", PNG.encode(Preview.draw(image)))
    #expect(try RGBImage(file: path) == Preview.draw(image))
  }
}
