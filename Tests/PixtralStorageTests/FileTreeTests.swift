import Glibc
import PixtralStorage
import TestSupport
import Testing

@Suite("Files below a folder")
struct FileTreeTests {
  let folder: TemporaryFolder
  let tree: FileTree
  private var inside: String { "\(folder.path)/in" }

  init() throws {
    folder = try TemporaryFolder()
    try folder.write("in/a.txt", "inside")
    try folder.write("out/b.txt", "outside")
    try folder.write("in-other/c.txt", "outside")
    tree = try FileTree("\(folder.path)/in")
  }

  private func link(_ name: String, to target: String) { #expect(symlink(target, "\(inside)/\(name)") == 0) }

  private func text(_ path: String) throws -> String {
    try MappedFile(path, below: tree).withBytes { String(decoding: $0, as: UTF8.self) }
  }

  @Test("A file below it is read, by its path as it was given or without links")
  func inside_() throws {
    #expect(try text("\(inside)/a.txt") == "inside")
    #expect(symlink(inside, "\(folder.path)/alias") == 0)
    let aliased = try FileTree("\(folder.path)/alias")
    for path in ["\(folder.path)/alias/a.txt", "\(inside)/a.txt", "\(inside)//./a.txt"] {
      #expect(try MappedFile(path, below: aliased).bytes.count == 6)
    }
  }

  @Test("A link that stays inside is followed")
  func linkInside() throws {
    link("l", to: "a.txt")
    #expect(try text("\(inside)/l") == "inside")
  }

  @Test(
    "A path that leads out is refused, whether there is a file or not",
    arguments: [
      "/etc/passwd", "/nowhere", "IN/../out/b.txt", "IN/../nowhere", "IN-other/c.txt", "a.txt", "IN", "",
    ])
  func outside(path: String) throws {
    let error = try refusal { try text(path.replacing("IN", with: inside)) }
    #expect(error.found == FileTree.leadsOut)
  }

  @Test("A link that leads out is refused, whether there is a file or not")
  func linkOutside() throws {
    link("absolute", to: "\(folder.path)/out/b.txt")
    link("relative", to: "../out/b.txt")
    link("folder", to: "../out")
    link("none", to: "../nowhere")
    link("chain", to: "relative")
    link("back", to: "../in/a.txt")
    for name in ["absolute", "relative", "folder/b.txt", "none", "chain", "back"] {
      #expect(try refusal { try text("\(inside)/\(name)") }.found == FileTree.leadsOut, "\(name)")
    }
  }

  @Test("What is no plain file is refused, and not waited for")
  func noFile() throws {
    #expect(mkfifo("\(inside)/pipe", 0o600) == 0)
    for name in ["pipe", "."] { #expect(throws: InputError.self) { try text("\(inside)/\(name)") } }
  }

  @Test("A file that is not there is told to be so")
  func missing() throws {
    #expect(try refusal { try text("\(inside)/no.txt") }.found == "No such file or directory")
  }

  @Test("A folder that is none is refused")
  func noFolder() throws {
    #expect(throws: InputError.self) { try FileTree("\(inside)/a.txt") }
    #expect(throws: InputError.self) { try FileTree("\(inside)/none") }
  }
}
