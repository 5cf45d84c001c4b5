import Foundation
import TestSupport
import Testing

@testable import PixtralStorage

@Suite("Output folders")
struct OutputFolderTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// Writes files of one byte, in their order.
  private func write(_ names: [String], _ byte: UInt8, removing outdated: [String] = []) throws {
    let out = try OutputFolder(folder.path, sparing: [])
    for name in names { try out.newFile(name, room: 1).write([byte]) }
    for name in outdated { try out.outdate(name) }
    try out.finish()
  }

  @Test func allFilesGetTheirNamesAtTheEnd() throws {
    let out = try OutputFolder("\(folder.path)/a/b", sparing: [])
    for name in ["data", "summary"] { try out.newFile(name, room: 0).write([1]) }
    #expect(!FileManager.default.fileExists(atPath: "\(folder.path)/a/b/data"))
    try out.finish()
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: "\(folder.path)/a/b").sorted()
        == ["data", "summary"])
  }

  @Test func olderFilesAreReplacedAndOutdatedOnesRemoved() throws {
    try folder.write("index", "old")
    try folder.write("of somebody else", "old")
    try write(["data", "summary"], 1)
    try write(["data", "summary"], 2, removing: ["index"])
    #expect(folder.contents == ["data", "of somebody else", "summary"])
    #expect(try bytes(of: "\(folder.path)/data") == [2])
    #expect(try bytes(of: "\(folder.path)/summary") == [2])
  }

  @Test func anOutdatedFileThatTheRunReadsIsRefused() throws {
    try folder.write("index", "old")
    let out = try OutputFolder(folder.path, sparing: ["\(folder.path)/../\(fileName(of: folder.path))/index"])
    let error = try refusal { try out.outdate("index") }
    #expect(error.place == "\(folder.path)/index")
    #expect(error.found == "one that the same command reads")
    try out.outdate("none")
  }

  @Test func aFileWhosePlaceIsTakenMeanwhileLeavesAllOlderOnes() throws {
    try write(["data", "summary"], 1)
    try {
      let out = try OutputFolder(folder.path, sparing: [])
      for name in ["data", "other", "summary"] { try out.newFile(name, room: 1).write([2]) }
      #expect(mkdir("\(folder.path)/other", 0o700) == 0)
      #expect(try refusal { try out.finish() }.place == "\(folder.path)/other")
    }()
    #expect(folder.contents == ["data", "other", "summary"])
    #expect(try bytes(of: "\(folder.path)/data") == [1])
    #expect(try bytes(of: "\(folder.path)/summary") == [1])
  }

  @Test func whatKilledRunsLeftGoesButNotWhatAnotherRunHolds() throws {
    try folder.write("shard-7.pixtral-ref-partial", "half")
    let other = try NewFile("\(folder.path)/other", sparing: [])
    try withExtendedLifetime(other) {
      try write(["data"], 1)
      #expect(folder.contents == ["data", "other.pixtral-ref-partial"])
    }
  }

  @Test func aFolderThatAnotherRunUsesStays() throws {
    // The first makes the folder above both.
    var first: OutputFolder? = try OutputFolder("\(folder.path)/a/b", sparing: [])
    _ = try first?.newFile("data", room: 0)
    let second = try OutputFolder("\(folder.path)/a/c", sparing: [])
    first = nil
    #expect(try FileManager.default.contentsOfDirectory(atPath: "\(folder.path)/a") == ["c"])
    _ = try second.newFile("data", room: 0)
    try second.finish()
    #expect(folder.contents == ["a"])
  }

  @Test func whatIsNoFolderIsRefused() throws {
    let file = try folder.write("file", "")
    #expect(symlink("none", "\(folder.path)/link") == 0)
    for path in [file, "\(file)/a", "\(folder.path)/link", "\(folder.path)/link/a", ""] {
      #expect(try refusal { try OutputFolder(path, sparing: []) }.kind == .unwritable)
    }
    #expect(folder.contents == ["file", "link"])
  }
}
