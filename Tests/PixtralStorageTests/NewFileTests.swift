import Foundation
import TestSupport
import Testing

@testable import PixtralStorage

@Suite("New files")
struct NewFileTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test("A file takes the place of an older one when it is whole, not before")
  func replaces() throws {
    let path = try folder.write("out", "old")
    let file = try NewFile(path)
    try Array("new".utf8).withUnsafeBytes { try file.write($0) }
    #expect(try bytes(of: path) == Array("old".utf8))
    try file.finish()
    #expect(try bytes(of: path) == Array("new".utf8))
    #expect(folder.contents == ["out"])
  }

  /// A pipe stands for every device: a rename would put a plain file in the place of /dev/null.
  @Test("What is no plain file is refused and stays")
  func device() throws {
    let pipe = "\(folder.path)/pipe"
    #expect(mkfifo(pipe, 0o600) == 0)
    #expect(symlink(pipe, "\(folder.path)/link") == 0)
    for path in [pipe, "\(folder.path)/link", folder.path] {
      let error = try refusal { try NewFile(path) }
      #expect(error.kind == .unwritable)
      #expect(error.found == "something that is no plain file")
    }
    #expect(folder.contents == ["link", "pipe"])
  }

  @Test("A file that cannot be given its name leaves nothing")
  func unnamed() throws {
    let path = "\(folder.path)/out"
    let file = try NewFile(path)
    // Somebody makes a folder of the name while the file is written.
    #expect(mkdir(path, 0o700) == 0)
    #expect(try refusal { try file.finish() }.kind == .unwritable)
    file.abandon()
    #expect(folder.contents == ["out"])
  }

  @Test("A pipe is no input, and is not waited for")
  func pipeAsInput() throws {
    let pipe = "\(folder.path)/pipe"
    #expect(mkfifo(pipe, 0o600) == 0)
    #expect(try refusal { try MappedFile(pipe) }.kind == .unreadableFile)
  }

  @Test("Behind a link its target is replaced, and a link to nothing is refused")
  func link() throws {
    let folder = try TemporaryFolder()
    let target = try folder.write("target", "old")
    symlink(target, "\(folder.path)/link")
    symlink("\(folder.path)/none", "\(folder.path)/dangling")
    try Array("new".utf8).withUnsafeBytes { try NewFile.write($0, to: "\(folder.path)/link") }
    #expect(try bytes(of: target) == Array("new".utf8))
    #expect(try refusal { try NewFile("\(folder.path)/dangling") }.found == "a link to nothing")
    #expect(folder.contents == ["dangling", "link", "target"])
  }
}
