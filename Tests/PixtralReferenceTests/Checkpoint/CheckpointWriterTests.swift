import Foundation
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference
@testable import PixtralStorage

@Suite("Written checkpoints")
struct CheckpointWriterTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func write(_ layout: CheckpointLayout = .mistral, megabytes: Int = 5000) throws {
    try writeCheckpoint(
      Checkpoint("seeded:tiny"), layout: layout, to: folder.path, shardBytes: megabytes * 1_000_000,
      tokenizer: "\(fixtures)/tokenizer/\(Tokenizer.fileName)")
  }

  private var weights: [String] { folder.contents.filter { $0.contains("safetensors") } }

  @Test func theSameCheckpointIsWrittenAgainIntoItsFolder() throws {
    try write()
    let before = try folder.contents.map { try bytes(of: "\(folder.path)/\($0)") }
    try write()
    #expect(try folder.contents.map { try bytes(of: "\(folder.path)/\($0)") } == before)
  }

  @Test(arguments: [CheckpointLayout.mistral, .hf])
  func noIndexAndNoFileOfAnOlderCheckpointStaysBeside(layout: CheckpointLayout) throws {
    let stem = layout == .mistral ? "consolidated" : "model"
    try write(layout)
    #expect(weights == ["\(stem).safetensors"])
    try write(layout, megabytes: 3)
    #expect(weights.count > 3)
    #expect(!weights.contains("\(stem).safetensors"))
    #expect(weights.contains("\(stem).safetensors.index.json"))
    try write(layout)
    #expect(weights == ["\(stem).safetensors"])
  }

  @Test func bothLayoutsMayStandInOneFolder() throws {
    try write(.mistral)
    try write(.hf)
    #expect(weights == ["consolidated.safetensors", "model.safetensors"])
    #expect(try Checkpoint(folder.path).files.count == 1)
  }

  @Test func aCheckpointOfOtherOriginIsNotReplaced() throws {
    _ = try smallCheckpoint(in: folder)
    let before = try folder.contents.map { try bytes(of: "\(folder.path)/\($0)") }
    for layout in CheckpointLayout.allCases {
      let error = try refusal { try write(layout) }
      #expect(error.kind == .unwritable)
      #expect(error.found == "consolidated.safetensors of other origin")
    }
    #expect(folder.contents == ["consolidated.safetensors", "params.json"])
    #expect(try folder.contents.map { try bytes(of: "\(folder.path)/\($0)") } == before)
  }

  @Test(arguments: [
    "params.json", "consolidated.safetensors.index.json", "tokenizer.model.v7m1",
    "consolidated-00007-of-00009.safetensors",
  ])
  func aFileOfOneOfItsNamesIsNotReplaced(name: String) throws {
    try folder.write(name, "precious")
    #expect(try refusal { try write() }.found == "\(name) of other origin")
    #expect(folder.contents == [name])
    #expect(try bytes(of: "\(folder.path)/\(name)") == Array("precious".utf8))
  }

  @Test func filesThatHaveNothingToDoWithItStay() throws {
    for name in ["README.md", "consolidated-mine.safetensors", "trace.json"] { try folder.write(name, name) }
    try write(megabytes: 3)
    try write()
    for name in ["README.md", "consolidated-mine.safetensors", "trace.json"] {
      #expect(try bytes(of: "\(folder.path)/\(name)") == Array(name.utf8))
    }
  }

  @Test func theTokenizerThatIsReadIsNotReplaced() throws {
    let tokenizer = try folder.write(
      "tokenizer.model.v7m1", bytes(of: "\(fixtures)/tokenizer/\(Tokenizer.fileName)"))
    let error = try refusal {
      try writeCheckpoint(
        Checkpoint("seeded:tiny"), layout: .mistral, to: folder.path, shardBytes: 1 << 40,
        tokenizer: tokenizer)
    }
    #expect(error.found == "a file that the same command reads")
    #expect(folder.contents == ["tokenizer.model.v7m1"])
  }
}
