import Foundation
import PixtralStorage
import TestSupport
import Testing

/// Answers, lists, logs and reports from people who mean no good, or who made a slip.
@Suite("Conformance with hostile files")
struct HostileConformanceTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func command(_ text: String) throws -> (code: Int32, out: String, error: String) {
    try shell(#"export PROGRAM="$0"; "$0" conformance \#(text)"#, in: folder.path)
  }

  private func read(_ name: String) throws -> String {
    String(decoding: try bytes(of: "\(folder.path)/\(name)"), as: UTF8.self)
  }

  /// The first case of a run.
  private func first(_ text: String) throws -> (verdict: String?, detail: String) {
    let json = try JSON(parsing: command("run \(text) --json").out, place: "stdout")["cases"]?.array?.first
    return (json?["verdict"]?.string, json?["detail"]?.string ?? "")
  }

  private let grid = "image/grid/16x16"
  private let judged = "--results out --cases image/grid/16x16"
  private let right = #"{"columns": 1, "rows": 1}"#

  /// The question of `steps/gelu/unit` with the right answer in a file beside it.
  private func answeredStep() throws {
    _ = try command("export out --cases steps/gelu/unit")
    let step = "\(folder.path)/out/steps/gelu/unit"
    let question = try read("out/steps/gelu/unit/question.json").dropFirst().replacingOccurrences(
      of: #""step.safetensors""#, with: "\"\(step)/step.safetensors\"")
    try folder.write(
      "questions", #"{"op":"hello","protocol":1,"folder":"\#(step)"}"# + "\n{\"id\":1," + question)
    let answers = try command("session < questions").out.split(separator: "\n")
    let file = try #require(JSON(parsing: String(answers[1]), place: "an answer")["tensors"]?.string)
    let path = file.hasPrefix("/") ? file : "\(step)/\(file)"
    if path != "\(step)/output.safetensors" {
      try FileManager.default.copyItem(atPath: path, toPath: "\(step)/output.safetensors")
    }
  }

  // MARK: - Answers

  @Test(
    "A refusal that is no object, or one of asking that is no string, is none",
    arguments: [
      #"{"reject": false}"#, #"{"reject": 0}"#, #"{"reject": ""}"#, #"{"unsupported": false}"#,
      #"{"unsupported": {}}"#,
    ])
  func otherRefusal(answer: String) throws {
    try folder.write("out/\(grid)/answer.json", answer)
    #expect(try first(judged).verdict == "malformed")
  }

  @Test("The tensors of an answer lie in its folder", arguments: ["../x/output.safetensors", "/etc/passwd"])
  func outside(name: String) throws {
    try folder.write("out/steps/gelu/unit/answer.json", #"{"tensors": "\#(name)"}"#)
    let found = try first("--results out --cases steps/gelu/unit")
    #expect(found.verdict == "malformed")
    #expect(found.detail == "tensors is \(name), which is not in the folder of the question")
  }

  @Test("Of two answers to a question none is judged", arguments: ["tokens.json", "output.safetensors"])
  func twoAnswers(other: String) throws {
    try folder.write("out/\(grid)/answer.json", right)
    try folder.write("out/\(grid)/\(other)", "[]")
    #expect(try first(judged) == ("malformed", "answer.json and \(other) are two answers"))
  }

  @Test("Tokens beside the tensors of an answer do no harm")
  func tokensToo() throws {
    try answeredStep()
    try folder.write("out/steps/gelu/unit/tokens.json", "[1]")
    #expect(try first("--results out --cases steps/gelu/unit").verdict == "passed")
  }

  @Test("tokens.json is an array")
  func tokensObject() throws {
    try folder.write("out/tokens/request/one-turn/tokens.json", #"{"reject": {}}"#)
    let found = try first("--results out --cases tokens/request/one-turn")
    #expect(found == ("malformed", "tokens.json holds no array"))
  }

  @Test(
    "A file that says it is a digest, and is none, is malformed, and ends no run",
    arguments: ["pixtral-ref digest 1", "pixtral-ref digest 9"])
  func noDigest(format: String) throws {
    let header =
      #"{"__metadata__":{"format":"\#(format)"},"logits":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#
    try folder.write(
      "out/model/tiny/text/output.safetensors",
      TensorFile.bytes(header: header, data: [UInt8](repeating: 0, count: 4)))
    #expect(try first("--results out --cases model/tiny/text").verdict == "malformed")
  }

  @Test("The header of an answer is no longer than 4 MiB")
  func longHeader() throws {
    let header = "{\"output\":" + String(repeating: " ", count: 1 << 22) + "{}}"
    try folder.write(
      "out/steps/gelu/unit/output.safetensors", TensorFile.bytes(header: header, data: []))
    let found = try first("--results out --cases steps/gelu/unit")
    #expect(found.verdict == "malformed")
    #expect(found.detail.contains("expected a header of at most 4194304 bytes"))
  }

  @Test("A runtime without a name is called as its folder is", arguments: ["out", "out/"])
  func folderName(results: String) throws {
    try folder.write("out/\(grid)/answer.json", right)
    #expect(try command("run --results \(results) --cases \(grid)").out.hasPrefix("out, float32\n"))
  }

  @Test("A long name is shortened in the table")
  func longName() throws {
    let name = String(repeating: "x", count: 100_000)
    try folder.write(
      "out/runtime.json", #"{"name":"\#(name)","arithmetic":"float32","features":["grid"]}"#)
    #expect(try command("run \(judged)").out.count < 1_000)
  }

  // MARK: - Export

  @Test("An export names no file of the suite")
  func photograph() throws {
    _ = try command("export out --cases image/rgb/photo-chelsea")
    #expect(try read("out/image/rgb/photo-chelsea/question.json") == #"{"op":"rgb","file":"image"}"# + "\n")
    #expect(
      try bytes(of: "\(folder.path)/out/image/rgb/photo-chelsea/image")
        == bytes(of: "\(fixtures)/images/chelsea.png"))
  }

  @Test("Files are named from their folder, whatever that is called", arguments: ["Übung", #"a"b"#, #"a\b"#])
  func exportName(name: String) throws {
    _ = try command("export '\(name)' --cases steps/gelu/unit")
    #expect(
      try read("\(name)/steps/gelu/unit/question.json").hasSuffix(#""tensors":"step.safetensors"}"# + "\n"))
  }

  @Test("A full folder is not exported into, under whatever name")
  func fullFolder() throws {
    try folder.write("full/file", "")
    #expect(try command("export full/new/.. --cases \(grid)").code == 2)
    #expect(try folder.contents == ["full"] && !read("full/file").contains("x"))
  }

  // MARK: - Files that a run writes

  @Test("A run replaces no file that it reads", arguments: ["--html", "--junit"])
  func ownInput(option: String) throws {
    try folder.write("out/\(grid)/answer.json", right)
    try folder.write("known", "\(grid) a reason\n")
    #expect(try command("run \(judged) --known known \(option) known").code == 2)
    #expect(try read("known") == "\(grid) a reason\n")
  }

  @Test(
    "Files of a run are different ones",
    arguments: ["--html a --junit ./a", "--html a --resume a", "--junit a --resume a"])
  func sameFile(options: String) throws {
    #expect(try command("run --runtime true --cases \(grid) \(options)").code == 64)
  }

  @Test("A file that cannot be written is refused before anything is asked")
  func unwritable() throws {
    #expect(try command("run --runtime 'touch asked' --cases \(grid) --html none/page").code == 2)
    #expect(folder.contents == [])
  }

  @Test("A part without a case is refused")
  func emptyPart() throws {
    let result = try command("run \(judged) --shard 2/2")
    #expect(result.code == 2)
    #expect(result.error.contains("--shard 2/2: expected a part with a case in it, found none of 1"))
  }

  // MARK: - Known failures

  @Test("A list may have the line ends of Windows")
  func windowsLines() throws {
    try folder.write("out/\(grid)/answer.json", #"{"columns": 2, "rows": 1}"#)
    try folder.write("known", "# ours\r\n\r\n\(grid) a reason\r\nimage/grid/17x16 another\r\n")
    let result = try command("run \(judged) --known known --html page")
    #expect(try result.code == 0 && read("page").contains("<bdi>a reason</bdi>"))
  }

  @Test(
    "A list names cases of the suite, each once",
    arguments: [
      "image/grid/none a reason", "image/grid/16x16 a\nimage/grid/16x16 b", "\u{feff}image/grid/16x16 a",
    ])
  func wrongList(list: String) throws {
    try folder.write("known", list)
    #expect(try command("run \(judged) --known known").code == 2)
  }

  @Test("A list of more than 16 MiB is refused")
  func longList() throws {
    let result = try shell(
      #"truncate -s 17M known; "$0" conformance run \#(judged) --known known"#, in: folder.path)
    #expect(result.error.contains("expected a list of at most 16777216 bytes"))
  }

  @Test("A case that passes and is known to fail is said to be what is wrong")
  func surprise() throws {
    try folder.write("out/\(grid)/answer.json", right)
    try folder.write("known", "\(grid) a reason")
    let result = try command("run \(judged) --known known --junit out.xml")
    #expect(result.code == 1)
    #expect(result.out.hasSuffix("\n1 case passed that is known to fail\n"))
    #expect(
      try read("out.xml").contains(#"<failure message="passed, and is known to fail">a reason</failure>"#))
  }

  @Test("JUnit's file is XML, whatever a runtime sends")
  func junit() throws {
    // An accent makes one character with what is before it.
    try folder.write("out/tokens/decode/random-001/answer.json", #"{"text": "<\u0301&\u0301\ufffe\uffff"}"#)
    _ = try command("run --results out --cases tokens/decode/random-001 --junit out.xml")
    let text = try read("out.xml").unicodeScalars.map(\.value)
    #expect(text.contains(0x301))
    #expect(!zip(text, text.dropFirst()).contains { [0x3c, 0x26].contains($0) && $1 == 0x301 })
    #expect(!text.contains(0xfffe) && !text.contains(0xffff))
  }

  // MARK: - Logs

  private let own = #"--runtime '"$PROGRAM" conformance session' --cases image/grid/16x16"#

  @Test("A log belongs to one run at a time")
  func heldLog() throws {
    let result = try command(
      "run \(own) --resume log >/dev/null; exec 9<log; flock 9; \"$0\" conformance run \(own) --resume log")
    #expect(result.code == 2)
    #expect(result.error.contains("found one that another run writes"), "\(result.error)")
  }

  @Test("A log is of one list of features: what a runtime did not claim was not asked")
  func otherFeatures() throws {
    try folder.write(
      "runtime", #"read q; echo "{\"name\":\"a\",\"arithmetic\":\"float32\",\"features\":[\"$1\"]}"; read q"#)
    let run = "--cases image/grid/huggingface-1x1416 --resume log"
    _ = try command("run --runtime 'sh runtime rgb' \(run)")
    #expect(try command("run --runtime 'sh runtime pixels' \(run)").code == 2)
  }

  @Test(
    "A log whose lines were changed, put in or taken out is refused",
    arguments: ["s/failed/passed/", "2d", "2p", "3p"])
  func changedLog(edit: String) throws {
    let answer = #"while read q; do n=$((n + 1)); echo "{\"id\":$n,\"columns\":1,\"rows\":1}"; done"#
    try folder.write(
      "runtime", #"read q; echo '{"name":"a","arithmetic":"float32","features":["grid"]}'; "# + answer)
    let run = "run --runtime 'sh runtime' --cases 'image/grid/1[67]x1[67]' --resume log"
    _ = try command(run)
    #expect(try command(run).code == 1)
    let before = try read("log")
    _ = try shell("sed -i '\(edit)' log", in: folder.path)
    #expect(try read("log") != before)
    let result = try command(run)
    #expect(result.code == 2)
    #expect(
      result.error.contains("expected the line that a run wrote behind the one before it"), "\(result.error)")
  }

  @Test("Lines of another runtime's log are refused")
  func movedLines() throws {
    try folder.write(
      "runtime", #"read q; echo "{\"name\":\"$1\",\"arithmetic\":\"float32\",\"features\":[]}"; read q"#)
    for name in ["a", "b"] {
      _ = try command("run --runtime 'sh runtime \(name)' --cases \(grid) --resume \(name)")
    }
    _ = try shell("sed 1d a > lines; sed -n 1p b > log; cat lines >> log", in: folder.path)
    let run = "run --runtime 'sh runtime b' --cases \(grid) --resume"
    #expect(try command("\(run) b").code == 1)
    #expect(try command("\(run) log").code == 2)
  }

  @Test(
    "A log is a plain file, and no pipe is waited for",
    arguments: ["mkfifo log", "ln -s /dev/null log", "mkdir log"])
  func noPlainLog(making: String) throws {
    let result = try shell(
      #"export PROGRAM="$0"; \#(making); timeout 20 "$0" conformance run \#(own) --resume log"#,
      in: folder.path)
    #expect(result.code == 2, "\(result.error)")
  }

  @Test("A log of more than 64 MiB is refused")
  func longLog() throws {
    let result = try shell(
      #"export PROGRAM="$0"; truncate -s 65M log; "$0" conformance run \#(own) --resume log"#, in: folder.path
    )
    #expect(result.error.contains("found one of 68157440 bytes"), "\(result.error)")
  }

  @Test("Answers in files are judged anew: there is no log of them")
  func logOfFiles() throws {
    #expect(try command("run \(judged) --resume log").code == 64)
    #expect(folder.contents == [])
  }

  // MARK: - Reports

  @Test("A report of more values than the suite has is refused")
  func longReport() throws {
    try folder.write("report", "{\"cases\":[\(String(repeating: "0,", count: 1_100_000))0]}")
    let result = try command("verify report")
    #expect(result.code == 2)
    #expect(result.error.contains("expected JSON text of at most 1048576 values, found more"))
  }
}
