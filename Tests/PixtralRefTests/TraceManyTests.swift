import Foundation
import PixtralStorage
import TestSupport
import Testing

/// `trace` of several requests in one pass of the weights.
@Suite("Traces of several requests")
struct TraceManyTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// In a shell: `$0` is the program, `$C` the cases of models.
  private func run(_ line: String) throws -> (code: Int32, out: String, error: String) {
    try shell("C=\(fixtures)/cases/model/tiny; \(line)", in: folder.path)
  }

  /// Runs these lines of a file, up to the embeddings.
  private func trace(_ lines: String...) throws -> (code: Int32, out: String, error: String) {
    try folder.write("r.jsonl", lines.joined(separator: "\n"))
    return try run(#""$0" trace --requests r.jsonl --until decoder.embeddings --out out"#)
  }

  private var inOut: [String] {
    FileManager.default.subpaths(atPath: "\(folder.path)/out")?.sorted() ?? []
  }

  @Test("Each request has a folder named by its id, with the trace that it gets alone")
  func folders() throws {
    let cases = "\(fixtures)/cases/model/tiny"
    let request = try String(contentsOfFile: "\(cases)/text/request.json", encoding: .utf8)
    try folder.write(
      "r.jsonl",
      """
      {"id": "a/photos", "request": "\(cases)/two-images/request.json"}

      {"id": 7, "request": \(request.replacing("\n", with: " "))}
      """)
    let result = try run(
      """
      "$0" trace --requests r.jsonl --precision float64 --out many &&
      "$0" trace --request $C/two-images/request.json --precision float64 --out alone/a/photos &&
      "$0" trace --request $C/text/request.json --precision float64 --out alone/7 &&
      cmp many/a/photos/pixels.safetensors alone/a/photos/pixels.safetensors &&
      "$0" compare alone/a/photos many/a/photos && "$0" compare alone/7 many/7
      """)
    #expect(result.code == 0, "\(result.error)")
    for id in ["a/photos", "7"] {
      let (together, alone) = (
        try JSON(file: "\(folder.path)/many/\(id)/trace.json"),
        try JSON(file: "\(folder.path)/alone/\(id)/trace.json")
      )
      for key in ["tokens", "images", "checkpoint_sha256", "parameters", "precision"] {
        #expect(together[key] == alone[key], "\(id), \(key)")
      }
      let taps = [together, alone].map { $0["taps"]?.array?.map { [$0["name"], $0["shape"]] } }
      #expect(taps[0] == taps[1])
    }
  }

  @Test("Of a folder a text's SHA-256 is that of what it uses, though an image beside it uses more")
  func digestOfUse() throws {
    let result = try run(
      """
      "$0" checkpoint write seeded:tiny --layout mistral --out w > /dev/null &&
      "$0" trace --checkpoint w --request $C/text/request.json --out alone > /dev/null &&
      echo '{"id": "text", "request": "'$C'/text/request.json"}
      {"id": "image", "request": "'$C'/small-rgba/request.json"}' |
      "$0" trace --checkpoint w --requests - --out many > /dev/null &&
      grep -o '"checkpoint_sha256": *"[^"]*"' alone/trace.json many/text/trace.json many/image/trace.json
      """)
    let digests = result.out.split(separator: "\n").map { $0.suffix(65) }
    #expect(digests.count == 3, "\(result.error)")
    #expect(digests[0] == digests[1])
    #expect(digests[0] != digests[2])
  }

  @Test("A line a request goes to standard output, in order, with its id")
  func outputLines() throws {
    let result = try trace(
      #"{"id": "b", "tokens": [1, 3]}"#, #"{"id": "a", "tokens": [1, 3, 4]}"#)
    let lines = try result.out.split(separator: "\n").map { try JSON(parsing: String($0), place: "line") }
    #expect(lines.map { $0["id"]?.string } == ["b", "a"])
    #expect(lines.map { $0["trace"]?.string } == ["out/b/trace.safetensors", "out/a/trace.safetensors"])
  }

  @Test("--request given several times names the folders as the files are")
  func severalRequests() throws {
    let result = try run(
      """
      cp $C/text/request.json text.json && cp $C/text/request.json other.json &&
      "$0" trace --request text.json --request other.json --until decoder.embeddings --out out
      """)
    #expect(result.code == 0, "\(result.error)")
    #expect(inOut.filter { $0.hasSuffix("trace.json") } == ["other/trace.json", "text/trace.json"])
  }

  @Test("Tokens and pixels may be in files beside the lines")
  func filesBeside() throws {
    let result = try run(
      """
      "$0" trace --request $C/two-images/request.json --until decoder.embeddings --out a > /dev/null &&
      echo '{"id": "b", "tokens": "../a/trace.json", "pixels": "../a/pixels.safetensors"}' > a/r.jsonl &&
      mkdir lines && mv a/r.jsonl lines &&
      "$0" trace --requests lines/r.jsonl --until decoder.embeddings --out out > /dev/null &&
      cmp a/trace.safetensors out/b/trace.safetensors
      """)
    #expect(result.code == 0, "\(result.error)")
  }

  @Test(
    "An id that is no folder of its own below OUT is refused, and nothing is written",
    arguments: [
      #""../a""#, #""/a""#, #""""#, #"".""#, #""a//b""#, #""a/..""#, #""a\u0007""#, #""a\u0000b""#,
      #""good""#,
      #""good/inside""#, "\"../\u{301}x\"", "1.5", "null", "[1]", #""\ud800""#, #""x.pixtral-ref-partial""#,
    ])
  func wrongIDs(id: String) throws {
    let result = try trace(#"{"id": "good", "tokens": [1, 3]}"#, #"{"id": \#(id), "tokens": [1, 3]}"#)
    #expect(result.code == 2)
    #expect(result.error.hasPrefix("Error: r.jsonl, line 2, id: expected "), "\(result.error)")
    #expect(inOut == [])
  }

  @Test("An id of as many folders as fit on a line is refused at once")
  func deepID() throws {
    let result = try trace(#"{"id": "\#(String(repeating: "a/", count: 500_000))a", "tokens": [1]}"#)
    #expect(
      result.error
        == """
        Error: r.jsonl, line 1, id: expected a path of at most 4095 bytes, found 1000001; it names the \
        folder of the trace

        """)
  }

  @Test(
    "A line that is no question is refused with its number",
    arguments: [
      "{}", "[]", "nonsense", #"{"id": "b"}"#, #"{"id": "b", "tokens": [1], "request": {}}"#,
      #"{"id": "b", "messages": []}"#, #"{"id": "b", "tokens": [1.5]}"#, #"{"id": "b", "tokens": {}}"#,
      #"{"id": "b", "request": 5}"#, #"{"id": "b", "request": {"messages": []}}"#,
      #"{"id": "b", "tokens": [1], "pixels": 5}"#,
    ])
  func wrongLines(line: String) throws {
    let result = try trace(#"{"id": "good", "tokens": [1, 3]}"#, line)
    #expect(result.code == 2)
    #expect(result.error.contains("r.jsonl, line 2") || result.error.contains("request b"), "\(result.error)")
    #expect(inOut == [])
  }

  @Test("What is wrong with one of several requests names it, and none is computed")
  func wrongRequest() throws {
    for line in [
      #"{"id": "bad", "tokens": [1, 99999999]}"#, #"{"id": "bad", "tokens": [1, 10, 10, 15]}"#,
      #"{"id": "bad", "tokens": "missing.json"}"#,
      #"{"id": "bad", "request": {"messages": [{"role": "user", "content": "x", "oops": 1}]}}"#,
    ] {
      let result = try trace(#"{"id": "good", "tokens": [1, 3]}"#, line)
      #expect(result.code == 2)
      #expect(result.error.hasPrefix("Error: request bad, "), "\(result.error)")
    }
    #expect(inOut == [])
  }

  @Test("A pattern that one of the requests has no tap for names that request, and leaves no folder")
  func missingTaps() throws {
    let result = try run(
      """
      echo '{"id": "images", "request": "'$C'/two-images/request.json"}
      {"id": "text", "request": "'$C'/text/request.json"}' |
      "$0" trace --requests - --taps 'vision.*' --out out
      """)
    #expect(result.code == 2)
    #expect(result.error.hasPrefix("Error: request text, --taps vision.*: "), "\(result.error)")
    #expect(folder.contents == [])
  }

  @Test("--until on a picture ends the run when every request has shown its own")
  func untilPicture() throws {
    let result = try run(
      """
      echo '{"id": "a", "request": "'$C'/small-rgba/request.json"}
      {"id": "b", "request": "'$C'/two-images/request.json"}' |
      "$0" trace --requests - --taps image.0.rgb --until image.0.rgb --out out
      """)
    #expect(result.code == 0, "\(result.error)")
    #expect(inOut.filter { $0.hasSuffix("trace.safetensors") }.count == 2)
  }

  @Test("An older trace's pixels, which another request reads, are not removed by a text in its place")
  func pixelsOfAnother() throws {
    let result = try run(
      """
      "$0" trace --request $C/two-images/request.json --until decoder.embeddings --out out/a > /dev/null 2>&1
      cp out/a/trace.json t.json
      echo '{"id": "b", "tokens": "t.json", "pixels": "out/a/pixels.safetensors"}
      {"id": "a", "tokens": [1, 3]}' | "$0" trace --requests - --until decoder.embeddings --out out
      """)
    #expect(result.code == 2)
    #expect(
      result.error.hasPrefix(
        "Error: request a, out/a/pixels.safetensors: expected an older file that may go"),
      "\(result.error)")
    #expect(inOut == ["a", "a/pixels.safetensors", "a/trace.json", "a/trace.safetensors"])
  }

  @Test("An empty OUT is refused, and is not the root")
  func emptyOut() throws {
    let result = try run(
      #"echo '{"id": "tmp/pixtral-ref-test", "tokens": [1, 3]}' | "$0" trace --requests - --out ''"#)
    #expect(result.code == 2)
    #expect(
      result.error.hasSuffix("'': expected a folder that can be written, found an empty name\n"),
      "\(result.error)")
  }

  @Test("A file without lines, and two sorts of input, are refused")
  func noLines() throws {
    #expect(try trace("", "  ").code == 2)
    #expect(try run(#""$0" trace --requests r.jsonl --tokens t.json --out out"#).code == 64)
  }
}
