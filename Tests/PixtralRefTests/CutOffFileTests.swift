import TestSupport
import Testing

/// Files that become shorter while they are mapped: whole pages are missed by the system, which sends SIGBUS;
/// what a page has lost reads as zeros. Either ends in a sentence, never in a verdict.
@Suite("Files that become shorter")
struct CutOffFileTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// How long a file becomes: a page, or but a few bytes shorter than it was.
  static let sizes = ["4096", "-100"]

  /// Expects that the program is told of a file.
  private func expectCutOff(_ file: String, _ lines: String) throws {
    let result = try shell(lines, in: folder.path)
    #expect(result.code == 2)
    #expect(result.out.isEmpty)
    #expect(
      result.error
        == "Error: \(file): expected a readable file, found one that became shorter while it was read, or that a "
        + "disk has lost a part of\n")
  }

  @Test("compare, whose candidate is asked for when the reference is open", arguments: sizes)
  func compare(size: String) throws {
    var file = TensorFile()
    file.add("decoder.norm", [100, 80], [Float](repeating: 1, count: 8000))
    try folder.write("reference", file.bytes)
    try expectCutOff(
      "reference",
      """
      cp reference candidate; mkfifo pipe
      "$0" compare reference pipe & exec 3> pipe
      truncate -s \(size) reference; cat candidate >&3; exec 3>&-; wait $!
      """)
  }

  @Test(
    "What reads the values of a checkpoint, whose last shard is asked for when the first is open",
    arguments: ["inspect --values c", "compare c seeded:tiny", "compare seeded:tiny c"], sizes)
  func checkpoint(command: String, size: String) throws {
    try expectCutOff(
      "c/consolidated-00001-of-00002.safetensors",
      """
      "$0" checkpoint write seeded:tiny --out c --shard-megabytes 6 > /dev/null
      mv c/consolidated-00002-of-00002.safetensors last; mkfifo c/consolidated-00002-of-00002.safetensors
      "$0" checkpoint \(command) & exec 3> c/consolidated-00002-of-00002.safetensors
      truncate -s \(size) c/consolidated-00001-of-00002.safetensors; cat last >&3; exec 3>&-; wait $!
      """)
  }
}
