import Foundation
import PixtralStorage
import TestSupport
import Testing

/// What goes on around a session: answers in files, parts of a run, reports that are sent on, the suite itself.
@Suite("Conformance without a session, in parts, and sent on")
struct ConformanceFilesTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func command(_ text: String) throws -> (code: Int32, out: String, error: String) {
    try shell(#"export PROGRAM="$0"; "$0" \#(text)"#, in: folder.path)
  }

  private func read(_ name: String) throws -> String {
    String(decoding: try bytes(of: "\(folder.path)/\(name)"), as: UTF8.self)
  }

  private func json(_ text: String) throws -> JSON {
    try JSON(parsing: command("\(text) --json").out, place: "stdout")
  }

  private func verdicts(_ json: JSON) -> [String] {
    json["cases"]?.array?.compactMap { $0["verdict"]?.string } ?? []
  }

  private let own = #"--runtime '"$PROGRAM" conformance session'"#

  @Test("A question lies in a folder of its own, and its answer is judged there")
  func exported() throws {
    let cases = "--cases 'tokens/request/one-turn,image/grid/1025x1237,image/grid/16x16'"
    #expect(try command("conformance export out \(cases)").code == 0)
    let question = try read("out/image/grid/1025x1237/question.json")
    #expect(question == #"{"op":"grid","width":1025,"height":1237}"# + "\n")
    try folder.write("out/image/grid/1025x1237/answer.json", #"{"columns": 53, "rows": 64}"#)
    try folder.write("out/tokens/request/one-turn/tokens.json", "[1, 3, 16127, 4]")
    let report = try json("conformance run --results out \(cases)")
    #expect(verdicts(report) == ["unsupported", "failed", "passed"])
    #expect(report["first_divergence"]?["looks_like"] == "G-floor")
  }

  @Test("An answer that is no JSON, or no object, is malformed")
  func malformedFiles() throws {
    let cases = "--cases 'image/grid/1025x49,image/grid/16x16'"
    _ = try command("conformance export out \(cases)")
    try folder.write("out/image/grid/1025x49/answer.json", "{")
    try folder.write("out/image/grid/16x16/answer.json", "3")
    #expect(try verdicts(json("conformance run --results out \(cases)")) == ["malformed", "malformed"])
  }

  @Test("A folder with something in it is not exported into, and results that are not there are refused")
  func refusedFolders() throws {
    try folder.write("full/file", "")
    #expect(try command("conformance export full --cases image/grid/16x16").code == 2)
    #expect(try command("conformance run --results none").code == 2)
  }

  @Test("Parts of a run are all of it, each case once")
  func shards() throws {
    let parts = try (1...3).flatMap { part in
      try json("conformance run \(own) --stage pixels --shard \(part)/3")["cases"]?.array ?? []
    }
    let whole = try json("conformance run \(own) --stage pixels")["cases"]?.array ?? []
    #expect(Set(parts.compactMap { $0["id"]?.string }) == Set(whole.compactMap { $0["id"]?.string }))
    #expect(parts.count == whole.count)
    for shard in ["4/3", "0/0", "1", "-1/2"] {
      #expect(try command("conformance run \(own) --shard=\(shard)").code == 64, "\(shard)")
    }
  }

  @Test("A run that is resumed asks only what is left, and ends in the same report")
  func resumed() throws {
    let run = "conformance run \(own) --stage pixels"
    let whole = try command("\(run) --resume log --json").out
    let lines = try read("log").split(separator: "\n")
    // It was stopped in the midst of a line.
    try folder.write("log", lines[..<40].joined(separator: "\n") + "\n" + lines[40].prefix(9))
    #expect(try command("\(run) --resume log --json").out == whole)
    #expect(try read("log").split(separator: "\n").count == lines.count)
  }

  @Test("A log of another runtime is refused")
  func otherLog() throws {
    try folder.write("log", #"{"log":"pixtral-ref conformance run","runtime":"another"}"# + "\n")
    let result = try command("conformance run \(own) --stage pixels --resume log")
    #expect(result.code == 2)
    #expect(result.error.contains("line 1"), "\(result.error)")
  }

  @Test("A file that is no log is left as it is")
  func noLog() throws {
    try folder.write("mine", "a letter without an end")
    #expect(try command("conformance run \(own) --stage pixels --resume mine").code == 2)
    #expect(try read("mine") == "a letter without an end")
  }

  @Test("A report is verified, and one that was changed is not")
  func verified() throws {
    let report = try command("conformance run \(own) --stage pixels --json").out
    try folder.write("report.json", report)
    #expect(try command("conformance verify report.json").code == 0)
    for (claim, lie) in [
      (#""passed":65"#, #""passed":66"#), (#""verdict":"passed""#, #""verdict":"failed""#),
      (#""version":"0.3","sha256":""#, #""version":"0.3","sha256":"0"#), ("4x4-noise", "no-case"),
    ] {
      let changed = report.replacingOccurrences(of: claim, with: lie)
      #expect(changed != report, "\(claim)")
      try folder.write("report.json", changed)
      #expect(try command("conformance verify report.json").code == 1, "\(lie)")
    }
  }

  @Test("The suite keeps its own rules")
  func lint() throws {
    let result = try json("conformance lint")
    #expect(result["passed"] == .bool(true))
    #expect(result["problems"]?.array?.prefix(5).map { $0.text() } == [])
  }

  @Test("A case that is changed, and a file that the manifest lacks, break them")
  func brokenSuite() throws {
    _ = try shell("mkdir F; cp -r '\(fixtures)/manifest.json' '\(fixtures)/cases' F", in: folder.path)
    let table = "F/cases/image/grid/basics.csv"
    try folder.write(table, read(table).replacingOccurrences(of: "\n1,1,1,1,", with: "\n1,1,1,2,"))
    try folder.write("F/cases/image/grid/stray", "")
    let result = try json("conformance lint --fixtures F/cases")
    let problems = result["problems"]?.array?.compactMap(\.string) ?? []
    #expect(problems.contains("image/grid/1x1 is another case than the manifest's."))
    #expect(problems.contains("cases/image/grid/basics.csv is another file than the manifest's."))
    #expect(problems.contains("cases/image/grid/stray is not in the manifest."))
  }

  @Test("The demonstration names the first wrong operation and the mistake")
  func demo() throws {
    let result = try command("demo")
    #expect(result.code == 0)
    #expect(result.out.contains("wrong first:  vision.layers.0.attention.context"))
    #expect(result.out.contains("looks like:   V-no-mask"))
  }
}
