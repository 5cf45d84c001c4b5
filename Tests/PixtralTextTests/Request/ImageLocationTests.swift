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
      let location = try ImageLocation(url, place: "request", folder: "\(fixtures)/requests", ImageLoader())
      #expect(try LoadedImage(location, place: "image 0", ImageLoader()).rgb() == image)
    }
  }

  @Test(
    "A broken data: URL is refused",
    arguments: [
      "data:image/png,abc", "data:image/png;base64,", "data:;base64,a", "data:;base64,ab",
      "data:;base64,äbcd", "data:;base64,YQ==ä",
    ])
  func brokenData(url: String) throws {
    #expect(
      try refusal { try ImageLocation(url, place: "request", folder: ".", ImageLoader()) }.type
        == "ValueError")
  }

  @Test(
    "An image that does not open, and one that breaks off, are refused with Pillow's and mistral-common's exceptions"
  )
  func brokenImages() throws {
    let cases = try suite("image/rgb/broken")
    let folder = try TemporaryFolder()
    expectRight(cases) { entry in
      let file = "file://\(try folder.write("image", entry.file))"
      let data = "data:;base64,\(Data(try entry.file).base64EncodedString())"
      // What an empty payload is, 9.2 says.
      let found = try [file, data].map { try entry.file.isEmpty && $0 == data ? "ValueError" : exception($0) }
      let expected = entry.value["witnesses"]?.list?.map { $0["raises"]?.text }
      return found == expected ? nil : "\(found), expected \(expected ?? [])"
    }
  }

  @Test("What Pillow reads and is refused here has no exception")
  func otherFormat() throws {
    let gif = Data("GIF89a".utf8).base64EncodedString()
    #expect(try exception("data:image/gif;base64,\(gif)") == "wrongImage")
  }

  @Test(
    "A file that cannot be opened is refused with Python's exception",
    arguments: [
      ("\(fixtures)/none.png", "FileNotFoundError"), (fixtures, "IsADirectoryError"),
      ("\(fixtures)/images/model-left.jpg/x", "NotADirectoryError"),
      ("/\(String(repeating: "x", count: 300))", "OSError"), ("/dev/null", "UnidentifiedImageError"),
    ])
  func noFile(path: String, raised: String) throws {
    #expect(try exception("file://\(path)") == raised)
    #expect(try exception(path) == "ValueError")
  }

  @Test(
    "A chunk image that does not open is refused while the request is read; broken samples only then when they are needed"
  )
  func chunks() throws {
    func chunk(_ name: String) throws -> ChatRequest {
      let entry = try #require(try suite("image/rgb/broken").first { $0.id.hasSuffix("broken-\(name)") })
      let code = Data(try entry.file).base64EncodedString()
      return try ChatRequest(
        json: #"{"messages": [{"role": "user", "content": [{"type": "image", "image": "\#(code)"}]}]}"#)
    }
    #expect(try refusal { try chunk("png-header-only") }.type == "RuntimeError")
    let request = try chunk("png-half")
    #expect(try refusal { try request.loadImages()[0].get() }.type == "OSError")
  }

  @Test("The limit on pixels holds for a chunk image too")
  func limit() throws {
    let code = Data(try bytes(of: "\(fixtures)/images/model-right.png")).base64EncodedString()
    let json = #"{"messages": [{"role": "user", "content": [{"type": "image", "image": "\#(code)"}]}]}"#
    let error = try refusal { try ChatRequest(json: json, images: ImageLoader(maxPixels: 10)) }
    #expect(error.kind == .largeImage && error.type == "RuntimeError")
  }

  @Test("A name with a NUL is refused, and nothing before it is opened", arguments: ["file://", ""])
  func nul(scheme: String) throws {
    #expect(try exception("\(scheme)\(fixtures)/images/model-alpha.png\u{0}.txt") == "ValueError")
  }

  @Test("Base64 without a URL around it is refused with what to write in front, in a short sentence")
  func bareBase64() throws {
    let base64 = Data(try bytes(of: "\(fixtures)/images/rocket.jpg")).base64EncodedString()
    let error = try refusal { try ImageLocation(base64, place: "image 0", folder: ".", ImageLoader()) }
    #expect(error.type == "ValueError")
    #expect(error.advice == "if it is base64, write data:image/png;base64, in front of it")
    #expect("\(error)".count < 250)
  }

  @Test("A file may have a name that could be base64")
  func nameLikeBase64() throws {
    let folder = try TemporaryFolder()
    let name = String(repeating: "x", count: 80)
    try folder.write(name, bytes(of: "\(fixtures)/images/model-alpha.png"))
    #expect(
      try ImageLocation(name, place: "", folder: folder.path, ImageLoader())
        == .path("\(folder.path)/\(name)"))
  }

  @Test("What is no base64 does not count, nor what stands behind the padding")
  func laxBase64() throws {
    #expect(try payload("data:;base64,AQ I\nD*") == [1, 2, 3])
    #expect(try payload("data:;base64,AQI=AQI=") == [1, 2])
  }

  @Test("A prefix is one of scalars, though a combining mark behind it makes another grapheme")
  func combiningMark() throws {
    #expect(try payload("data:\u{301};base64,AQI=") == [1, 2])
    guard case .file(let path) = try ImageLocation("file://\u{301}x", place: "", folder: "", ImageLoader())
    else {
      Issue.record("must be a file")
      return
    }
    #expect(Array(path.utf8) == Array("\u{301}x".utf8))
  }

  private func payload(_ url: String) throws -> [UInt8]? {
    guard case .data(let bytes) = try ImageLocation(url, place: "request", folder: ".", ImageLoader()) else {
      return nil
    }
    return bytes
  }

  private func exception(_ url: String) throws -> String {
    try refusal {
      try LoadedImage(
        ImageLocation(url, place: "", folder: "", ImageLoader()), place: "image 0", ImageLoader())
    }.type
  }
}
