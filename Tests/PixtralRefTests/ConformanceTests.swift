import Foundation
import PixtralStorage
import TestSupport
import Testing

/// The kit with runtimes that are right, wrong and worse.
@Suite("Conformance runs")
struct ConformanceTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// Runs some cases with a runtime that is a shell script; `$0` in it is the program.
  private func run(
    _ script: String, _ options: String = ""
  ) throws -> (code: Int32, json: JSON, error: String) {
    try folder.write("runtime", script)
    let result = try shell(
      #"export PROGRAM="$0"; "$0" conformance run --json --runtime 'exec sh runtime' \#(options)"#,
      in: folder.path)
    return (result.code, (try? JSON(parsing: result.out, place: "stdout")) ?? .null, result.error)
  }

  /// A runtime that claims the stage grid, and answers each question with this: `$n` is its number.
  private func gridRuntime(_ answer: String) -> String {
    #"""
    read hello
    echo '{"name":"shell","version":"1","arithmetic":"float32","features":["grid"]}'
    n=0
    while read question; do
      n=$((n + 1))
      \#(answer)
    done
    """#
  }

  private let fewGrids = "--cases 'image/grid/1[67]x16'"

  private func verdicts(_ json: JSON) -> [String] {
    json["cases"]?.array?.compactMap { $0["verdict"]?.string } ?? []
  }

  @Test("pixtral-ref passes every case that it claims, of every stage")
  func healthy() throws {
    let result = try run(#"exec "$PROGRAM" conformance session"#)
    #expect(result.code == 0, "\(result.error)")
    #expect(result.json["passed"] == .bool(true))
    #expect(result.json["first_divergence"] == .null)
    #expect(result.json["counts"]?["failed"]?.integer == 0)
    for stage in ["tokens", "grid", "rgb", "pixels", "steps", "model", "answer"] {
      let cases = result.json["cases"]?.array?.filter { $0["stage"]?.string == stage } ?? []
      #expect(cases.contains { $0["verdict"] == "passed" }, "\(stage)")
    }
  }

  @Test("A wrong answer fails, and the case is named first")
  func wrong() throws {
    let result = try run(gridRuntime(#"echo "{\"id\":$n,\"columns\":64,\"rows\":64}""#), fewGrids)
    #expect(result.code == 1)
    #expect(Set(verdicts(result.json)) == ["failed"])
    #expect(result.json["first_divergence"]?["stage"] == "grid")
    #expect(result.json["cases"]?.array?[0]["detail"]?.string?.contains("found 64×64") == true)
  }

  @Test(
    "Whatever a runtime does instead of answering is named, and the run goes on to its end",
    arguments: [
      ("exit 3", "crashed"), ("kill -11 $$", "crashed"), ("sleep 60", "timed-out"),
      ("echo what", "malformed"),
      (#"echo "{\"id\":$((n + 7))}""#, "malformed"), (#"echo "{\"columns\":1}""#, "malformed"),
      (#"echo "{\"id\":$n}""#, "malformed"), (#"echo "[$n]""#, "malformed"),
      (#"echo "{\"id\":$n,\"unsupported\":\"no\"}""#, "unsupported"),
      (#"echo "{\"id\":$n,\"reject\":{\"type\":\"x\",\"message\":\"y\"}}""#, "failed"),
      ("yes | head -c 200000000", "malformed"), ("exec >&-; sleep 60", "crashed"),
      ("sleep 60 & exec >&- 2>&-; exit", "crashed"),
    ])
  func misbehaving(answer: String, verdict: String) throws {
    let timeout = verdict == "timed-out" ? 1 : 600
    let result = try run(gridRuntime(answer), "--timeout \(timeout) --cases 'image/grid/1[67]x16'")
    #expect(result.code == 1)
    #expect(Set(verdicts(result.json)) == [verdict], "\(result.json.text())")
    #expect(verdicts(result.json).count == 2)
  }

  @Test("A refusal that is null is none")
  func nullRefusal() throws {
    let answer = #"echo "{\"id\":$n,\"columns\":1,\"rows\":1,\"reject\":null,\"unsupported\":null}""#
    #expect(try run(gridRuntime(answer), "--cases image/grid/16x16").code == 0)
  }

  @Test("A runtime that never greets, or greets wrong, is refused with what it said")
  func noGreeting() throws {
    let silent = try run("echo no model here >&2; exit 1", fewGrids)
    #expect(silent.code == 2)
    #expect(
      silent.error.contains("the process ended, exit code 1; it said: no model here"), "\(silent.error)")
    #expect(try run("read hello; echo '{}'", fewGrids).code == 2)
    #expect(try run("sleep 60", "--timeout 0.5 \(fewGrids)").code == 2)
  }

  @Test("A run in which nothing is asked is not green")
  func empty() throws {
    let result = try run(gridRuntime("exit"), "--stage rgb --cases 'image/rgb/png-*'")
    #expect(result.code == 1)
    #expect(Set(verdicts(result.json)) == ["unsupported"])
    #expect(result.json["passed"] == .bool(false))
  }

  @Test("A feature that no question needs is warned of")
  func unknownFeature() throws {
    let misspelled = gridRuntime(#"echo "{\"id\":$n,\"columns\":1,\"rows\":1}""#).replacingOccurrences(
      of: #"["grid"]"#, with: #"["grid","gird","parallel"]"#)
    let result = try run(misspelled, "--cases image/grid/16x16")
    #expect(result.code == 0)
    #expect(result.error == "warning: the runtime lists the feature gird, which no question needs\n")
  }

  @Test("A case that is known to fail may, and must")
  func known() throws {
    try folder.write("known", "# ours\nimage/grid/16x16 the grid is fixed\n")
    let only = "--cases image/grid/16x16 --known known"
    #expect(try run(gridRuntime(#"echo "{\"id\":$n,\"columns\":64,\"rows\":64}""#), only).code == 0)
    #expect(try run(gridRuntime(#"echo "{\"id\":$n,\"columns\":1,\"rows\":1}""#), only).code == 1)
  }

  @Test("JUnit's file is XML, with a failure for each case that failed")
  func junit() throws {
    let answer = gridRuntime(#"echo "{\"id\":$n,\"columns\":1,\"rows\":1}""#)
    _ = try run(answer, "--junit out.xml --cases 'image/grid/1x1,image/grid/1[67]x16'")
    let text = try String(contentsOfFile: "\(folder.path)/out.xml", encoding: .utf8)
    #expect(text.contains(#"<testsuite name="grid" tests="3" failures="1">"#), "\(text)")
    #expect(text.hasSuffix("</testsuites>\n"))
  }

  @Test("The table names what is wrong first, and the command that repeats it alone")
  func table() throws {
    try folder.write("runtime", gridRuntime(#"echo "{\"id\":$n,\"columns\":64,\"rows\":64}""#))
    let result = try shell(
      #""$0" conformance run --runtime 'sh runtime' --cases image/grid/16x16"#, in: folder.path)
    #expect(result.out.contains("wrong first: image/grid/16x16"))
    #expect(
      result.out.contains(
        "again: pixtral-ref conformance run --runtime 'sh runtime' --cases 'image/grid/16x16'"))
    #expect(result.out.hasSuffix("\n1 case failed\n"))
  }

  @Test("Cases are listed and shown; what names none is refused")
  func listed() throws {
    let listed = try shell(#""$0" conformance list --stage model"#, in: folder.path)
    #expect(listed.out.split(separator: "\n").count == 11)
    let shown = try shell(#""$0" conformance show model/tiny/image"#, in: folder.path)
    #expect(try JSON(parsing: shown.out, place: "stdout")["stage"] == "model")
    #expect(try shell(#""$0" conformance show model/tiny/none"#, in: folder.path).code == 2)
    #expect(try shell(#""$0" conformance list --cases 'none*'"#, in: folder.path).code == 2)
    #expect(try shell(#""$0" conformance list --stage none"#, in: folder.path).code == 2)
  }

  @Test("A run leaves no file behind")
  func nothingLeft() throws {
    try folder.write("runtime", #"exec "$PROGRAM" conformance session"#)
    let result = try shell(
      #"export PROGRAM="$0" TMPDIR=$PWD; "$0" conformance run --runtime 'sh runtime' --stage pixels,model"#,
      in: folder.path)
    #expect(result.code == 0, "\(result.error)")
    #expect(folder.contents == ["runtime"])
  }
}
