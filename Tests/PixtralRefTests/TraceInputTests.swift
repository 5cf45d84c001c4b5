import Foundation
import PixtralStorage
import TestSupport
import Testing

/// Where a trace has its inputs from, and what it says of odd ones.
@Suite("Inputs of a trace")
struct TraceInputTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// In a shell: `$0` is the program, `$C` the cases of models, `$I` the images.
  private func run(_ line: String) throws -> (code: Int32, out: String, error: String) {
    try shell("C=\(fixtures)/cases/model/tiny; I=\(fixtures)/images; \(line)", in: folder.path)
  }

  @Test("The tokens and pixels that a trace keeps give the same trace, byte for byte")
  func repeated() throws {
    let result = try run(
      """
      "$0" trace --request $C/two-images/request.json --out a &&
      "$0" trace --tokens a/trace.json --pixels a/pixels.safetensors --out b &&
      cmp a/trace.safetensors b/trace.safetensors && cmp a/pixels.safetensors b/pixels.safetensors
      """)
    #expect(result.code == 0, "\(result.error)")
  }

  @Test("A case's own tokens and pixels give a trace that is within the case's limits, in float64 too")
  func caseInputs() throws {
    let result = try run(
      """
      "$0" trace --tokens $C/two-images/case.json --pixels $C/two-images/expected.safetensors \
        --precision float64 --out a && "$0" compare $C/two-images a
      """)
    #expect(result.code == 0)
    #expect(result.out.hasSuffix("all 85 taps are close\n"))
  }

  @Test("A batch of one in front of pixels is dropped, and pixel_values alone are refused with what to do")
  func pixelForms() throws {
    var file = TensorFile()
    file.add("image0", [1, 3, 16, 16], [Float](repeating: 0, count: 768))
    file.add("other", [1], [0] as [Float])
    try folder.write("batch.safetensors", file.bytes)
    var values = TensorFile()
    values.add("pixel_values", [1, 3, 16, 16], [Float](repeating: 0, count: 768))
    try folder.write("values.safetensors", values.bytes)
    #expect(
      try run(#"echo '[1,10,15]' | "$0" trace --tokens - --pixels batch.safetensors --out a"#).code == 0)
    let refused = try run(#"echo '[1,10,15]' | "$0" trace --tokens - --pixels values.safetensors --out b"#)
    #expect(refused.code == 2)
    #expect(
      refused.error.contains("none of these, but pixel_values; write each image as a tensor of its own"))
  }

  @Test(
    "A request may come through a pipe",
    arguments: [
      #"cat $C/text/request.json | "$0" tokens --request -"#,
      #""$0" tokens --request - < $C/text/request.json"#,
      #"cat $C/text/request.json | "$0" tokens --request /dev/stdin"#,
      #""$0" tokens --request <(cat $C/text/request.json)"#,
      #"mkfifo pipe; cat $C/text/request.json > pipe & "$0" tokens --request pipe"#,
      #"cat $C/text/request.json | "$0" trace --request - --until decoder.embeddings --out a"#,
    ])
  func pipes(line: String) throws {
    let result = try run(line)
    #expect(result.code == 0, "\(result.error)")
    #expect(!result.out.isEmpty)
  }

  @Test("So may an image")
  func imageFromPipe() throws {
    let result = try run(#"cat $I/model-left.jpg | "$0" image -"#)
    #expect(try JSON(parsing: result.out, place: "stdout")["columns"]?.integer == 6)
  }

  @Test("A folder, a device without an end and a pipe that nobody writes to are refused")
  func noFiles() throws {
    for path in [".", "/dev/zero", "pipe"] {
      let result = try run("mkfifo pipe 2>/dev/null; timeout 60 \"$0\" tokens --request \(path)")
      #expect(result.code == 2, "\(path)")
      #expect(result.error.contains("expected a readable file"), "\(path)")
    }
  }

  @Test("A weight that is not finite: the trace is whole, says where it shows first, and names no next token")
  func notFinite() throws {
    _ = try smallCheckpoint(in: folder) { file in
      let n = file.tensors.firstIndex { $0.name == "layers.0.attention.wv.weight" }!
      file.tensors[n].bytes.replaceSubrange(4..<8, with: [0, 0, 0xc0, 0xff])  // a NaN with a sign
    }
    let result = try run(#"echo '[1,2,3]' | "$0" trace --checkpoint . --tokens - --out a"#)
    #expect(result.code == 1)
    #expect(
      result.error.contains(
        "not finite first at decoder.layers.0.attention.v, row 0, column 0: nan; "
          + "the weight layers.0.attention.wv.weight has nan at [0, 1]"))
    let summary = try JSON(file: "\(folder.path)/a/trace.json")
    #expect(summary["not_finite"]?["tap"]?.string == "decoder.layers.0.attention.v")
    #expect(summary["next_tokens"] == nil)
    #expect(summary["taps"]?.array?.count == 18)
  }

  @Test("A checkpoint that becomes shorter while it is used ends the run with a sentence, and leaves nothing")
  func cutOff() throws {
    #expect(try run(#""$0" checkpoint write seeded:tiny --out c"#).code == 0)
    // Tokens are asked for when the checkpoint is open.
    let result = try run(
      """
      mkfifo tokens; "$0" trace --checkpoint c --tokens tokens --out a & exec 3> tokens
      truncate -s 4096 c/consolidated.safetensors; echo '[1,2,3]' >&3; exec 3>&-; wait $!
      """)
    #expect(result.code == 2)
    #expect(
      result.error.contains(
        "c/consolidated.safetensors: expected a readable file, found one that became shorter"))
    #expect(!FileManager.default.fileExists(atPath: "\(folder.path)/a"))
  }

  @Test("A run that does not fit in memory is refused before anything is computed")
  func tooLarge() throws {
    let tokens = [Int](repeating: 7, count: 20_000)
    try folder.write("tokens.json", "\(tokens)")
    let result = try run(#"ulimit -v 2500000; "$0" trace --tokens tokens.json --out a"#)
    #expect(result.code == 2)
    #expect(result.error.contains("this run: expected to need at most"))
    #expect(!FileManager.default.fileExists(atPath: "\(folder.path)/a"))
  }

  @Test("A tap that is not there is told with the one that is likely meant")
  func until() throws {
    let result = try run(
      #""$0" trace --request $C/two-images/request.json --until vision.layers.9.output --out a"#)
    #expect(result.code == 2)
    #expect(result.error.contains("did you mean vision.layers.0.output?"))
  }

  @Test("A tokenizer that is named is read, though a prompt of tokens needs none")
  func wrongTokenizer() throws {
    #expect(try run(#"echo '[1]' | "$0" trace --tokens - --tokenizer nosuch --out a"#).code == 2)
  }
}
