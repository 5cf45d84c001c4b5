import Foundation
import PixtralImage
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralText

@Suite("Images in requests")
struct ImageLocationTests {
  @Test("A data: URL, a file:// URL and a path are the same image")
  func imageSources() throws {
    let path = "\(fixtures)/images/model-alpha.png"
    let base64 = Data(try bytes(of: path)).base64EncodedString()
    let image = try RGBImage(file: path)
    for url in ["data:image/png;base64,\(base64)", "file://\(path)", "../images/model-alpha.png", path] {
      let location = try ImageLocation(url, place: "request", folder: "\(fixtures)/requests")
      #expect(try LoadedImage(location, place: "image 0", ImageLoader()).rgb() == image)
    }
  }

  @Test(
    "A broken data: URL is refused",
    arguments: [
      "data:image/png,abc", "data:image/png;base64,", "data:;base64,a", "data:;base64,ab",
      "data:;base64,äbcd",
    ])
  func brokenData(url: String) throws {
    #expect(try refusal { try ImageLocation(url, place: "request", folder: ".") }.type == "ValueError")
  }

  @Test(
    "An image that does not open, and one that breaks off, are refused with Pillow's and mistral-common's exceptions",
    arguments: [
      ("half", "OSError", "OSError"), ("header-only", "UnidentifiedImageError", "ValueError"),
      ("huge", "DecompressionBombError", "ValueError"),
    ])
  func brokenImage(name: String, ofFile: String, ofData: String) throws {
    let entry = try #require(try suite("image/rgb/broken").first { $0.id.hasSuffix("png-\(name)") })
    let folder = try TemporaryFolder()
    let path = try folder.write("image.png", entry.file)
    let base64 = Data(try entry.file).base64EncodedString()
    #expect(try exception("file://\(path)") == ofFile)
    #expect(try exception("data:image/png;base64,\(base64)") == ofData)
  }

  @Test("What is no base64 does not count, nor what stands behind the padding")
  func laxBase64() throws {
    #expect(try payload("data:;base64,AQ I\nD*") == [1, 2, 3])
    #expect(try payload("data:;base64,AQI=AQI=") == [1, 2])
  }

  @Test("A prefix is one of scalars, though a combining mark behind it makes another grapheme")
  func combiningMark() throws {
    #expect(try payload("data:\u{301};base64,AQI=") == [1, 2])
    guard case .file(let path) = try ImageLocation("file://\u{301}x", place: "", folder: "") else {
      Issue.record("must be a file")
      return
    }
    #expect(Array(path.utf8) == Array("\u{301}x".utf8))
  }

  private func payload(_ url: String) throws -> [UInt8]? {
    guard case .data(let bytes) = try ImageLocation(url, place: "request", folder: ".") else { return nil }
    return bytes
  }

  private func exception(_ url: String) throws -> String {
    try refusal {
      try LoadedImage(ImageLocation(url, place: "", folder: ""), place: "image 0", ImageLoader())
    }.type
  }
}
