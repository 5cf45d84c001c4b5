import Foundation
import TestSupport
import Testing

@testable import PixtralStorage

@Suite("New files")
struct NewFileTests {
  let folder: TemporaryFolder
  let path: String

  init() throws {
    folder = try TemporaryFolder()
    path = "\(folder.path)/out"
  }

  private let partial = "out.pixtral-ref-partial"

  /// Begins a file, and gives it up after something has been done.
  private func whileBegun(_ path: String, room: Int = 0, _ body: () throws -> Void = {}) throws {
    let file = try NewFile(path, room: room, sparing: [])
    try withExtendedLifetime(file) { try body() }
  }

  @Test func aFileTakesThePlaceOfAnOlderOneWhenItIsWholeNotBefore() throws {
    try folder.write("out", "old")
    let file = try NewFile(path, sparing: [])
    try file.write(Array("new".utf8))
    #expect(try bytes(of: path) == Array("old".utf8))
    try file.finish()
    #expect(try bytes(of: path) == Array("new".utf8))
    #expect(folder.contents == ["out"])
  }

  @Test func aFileThatIsLetGoLeavesNothingAndTheOlderOneStays() throws {
    try folder.write("out", "old")
    try whileBegun(path) { #expect(folder.contents == ["out", partial]) }
    #expect(folder.contents == ["out"])
    #expect(try bytes(of: path) == Array("old".utf8))
  }

  @Test func aSecondWriterOfAPlaceIsRefusedAndTheFirstGoesOn() throws {
    let first = try NewFile(path, sparing: [])
    let error = try refusal { try NewFile(path, sparing: []) }
    #expect(error.found == "another run writing it, as \(partial)")
    try first.write([1])
    try first.finish()
    #expect(try bytes(of: path) == [1])
    #expect(folder.contents == ["out"])
  }

  @Test func whatAKilledRunLeftGoes() throws {
    try folder.write(partial, "half")
    try NewFile.write([1], to: path, sparing: [])
    #expect(folder.contents == ["out"])
    #expect(try bytes(of: path) == [1])
  }

  @Test func aFileMayBeLetGoBehindTheNextOneOfItsName() throws {
    var first: NewFile? = try NewFile(path, sparing: [])
    // Somebody removes what is there, and another run begins.
    #expect(unlink("\(folder.path)/\(partial)") == 0)
    try whileBegun(path) {
      #expect(first != nil)
      first = nil
      #expect(folder.contents == [partial])
    }
  }

  @Test func aPartialFileThatWasReplacedGetsNoName() throws {
    let file = try NewFile(path, sparing: [])
    #expect(unlink("\(folder.path)/\(partial)") == 0)
    try folder.write(partial, "of somebody else")
    #expect(try refusal { try file.finish() }.found == "\(partial) removed or replaced meanwhile")
    #expect(folder.contents == [partial])
  }

  @Test func roomIsTakenAtOnceAndWhatWasNotNeededGivenBack() throws {
    let file = try NewFile(path, room: 100_000, sparing: [])
    #expect(try bytes(of: "\(folder.path)/\(partial)").count == 100_000)
    try file.write([1, 2])
    try file.finish()
    #expect(try bytes(of: path) == [1, 2])
  }

  @Test func aSizeThatNoDiskHasIsRefusedBeforeAnythingIsWritten() throws {
    try folder.write("out", "old")
    let error = try refusal { try NewFile(path, room: 1 << 60, sparing: []) }
    #expect(error.kind == .unwritable)
    #expect(error.expected == "room for \(1 << 60) bytes")
    #expect(folder.contents == ["out"])
  }

  /// A pipe stands for every device: a rename would put a plain file in the place of /dev/null.
  @Test func whatIsNoPlainFileIsRefusedAndStays() throws {
    let pipe = "\(folder.path)/pipe"
    #expect(mkfifo(pipe, 0o600) == 0)
    for path in [pipe, folder.path, "/dev/null"] {
      let error = try refusal { try NewFile(path, sparing: []) }
      #expect(error.kind == .unwritable)
      #expect(error.found == "something that is no plain file")
    }
    #expect(folder.contents == ["pipe"])
  }

  @Test func aLinkIsRefusedWhateverIsBehindIt() throws {
    let target = try folder.write("target", "old")
    for behind in [target, "none", folder.path, "/dev/null"] {
      #expect(symlink(behind, path) == 0)
      #expect(try refusal { try NewFile(path, sparing: []) }.found == "a link")
      #expect(unlink(path) == 0)
    }
    #expect(try bytes(of: target) == Array("old".utf8))
  }

  @Test func aLinkedFolderIsFollowed() throws {
    let real = try TemporaryFolder()
    #expect(symlink(real.path, "\(folder.path)/link") == 0)
    try NewFile.write([1], to: "\(folder.path)/link/out", sparing: [])
    #expect(real.contents == ["out"])
  }

  @Test(arguments: ["", ".", "..", "out/", "/"])
  func theNameOfAFolderIsRefused(name: String) throws {
    #expect(try refusal { try NewFile(name, sparing: []) }.kind == .unwritable)
  }

  @Test func aFolderThatIsNotThereIsNamedAsThat() throws {
    let error = try refusal { try NewFile("\(folder.path)/none/out", sparing: []) }
    #expect(error.found == "No such file or directory")
  }

  @Test func theNameOfAPartialFileIsKeptForThose() throws {
    #expect(
      try refusal { try NewFile("\(folder.path)/\(partial)", sparing: []) }.found
        == "a name that is kept for files that are not whole")
  }

  @Test func anInputIsNotReplacedUnderAnyOfItsNames() throws {
    let input = try folder.write("input", "input")
    #expect(link(input, path) == 0)
    #expect(symlink(input, "\(folder.path)/link") == 0)
    for name in ["input", "out", "./input"] {
      let error = try refusal { try NewFile("\(folder.path)/\(name)", sparing: ["\(folder.path)/link"]) }
      #expect(error.found == "a file that the same command reads")
    }
    #expect(folder.contents == ["input", "link", "out"])
  }

  @Test func anInputUnderTheNameOfAPartialFileStays() throws {
    let input = try folder.write(partial, "input")
    #expect(try refusal { try NewFile(path, sparing: [input]) }.kind == .unwritable)
    #expect(try bytes(of: input) == Array("input".utf8))
  }

  @Test func aFileThatCannotBeGivenItsNameLeavesNothing() throws {
    try {
      let file = try NewFile(path, sparing: [])
      // Somebody makes a folder of the name while the file is written.
      #expect(mkdir(path, 0o700) == 0)
      #expect(try refusal { try file.finish() }.kind == .unwritable)
    }()
    #expect(folder.contents == ["out"])
  }

  /// An accent behind a slash is one character with it, for Swift.
  @Test func aNameIsWhatStandsBehindTheLastSlashByte() throws {
    let name = "\u{301}out"
    try NewFile.write([1], to: "\(folder.path)/\(name)", sparing: [])
    #expect(access("\(folder.path)/\(name)", F_OK) == 0)
  }

  @Test("A pipe is no input, and is not waited for")
  func pipeAsInput() throws {
    let pipe = "\(folder.path)/pipe"
    #expect(mkfifo(pipe, 0o600) == 0)
    #expect(try refusal { try MappedFile(pipe) }.kind == .unreadableFile)
  }
}
