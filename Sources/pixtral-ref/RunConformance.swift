import ArgumentParser
import Glibc
import PixtralConformance
import PixtralProgram
import PixtralReference
import PixtralStorage
import PixtralText

struct RunConformance: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Ask a runtime the questions of the cases, and judge its answers.",
    discussion: """
      Prints a table of stages and verdicts, what is wrong first, and for each failure the command that \
      repeats it alone. A runtime that crashes, hangs or loses the thread is started anew, and the run goes on.

      With --endpoint an OpenAI-compatible server of seeded:small is asked: for the tokens of prompts, or their \
      number; for log-probabilities; whether images move them; what it refuses. What it can tell is found out. \
      --bodies keeps all that it said, and --endpoint with that file judges it again without the server.

      With --results nothing is started: the answers lie in files, as `conformance export` lays out the \
      questions.

      Exits with 0 if nothing failed, else with 1; also if nothing was asked, or a case passes that --known \
      says will fail. 2: the runtime or the server cannot be asked.
      """)

  @Option(help: "The command of the runtime, for a shell.")
  var runtime: String?

  @Option(help: "A folder with answers, such as `conformance export` writes, instead of a runtime.")
  var results: String?

  @OptionGroup var server: EndpointOptions

  @OptionGroup var chosen: ChosenCases

  @Option(help: "Seconds that an answer may take.")
  var timeout = 60.0

  @Option(help: "Cases that are known to fail: a line each, the id and the reason.")
  var known: String?

  @Option(help: "One part of the cases of several, such as 2/8.")
  var shard: String?

  @Option(help: "A file that keeps the verdicts as they come; cases that it has are not asked again.")
  var resume: String?

  @Option(help: "Sessions at a time, if the runtime says that it may.")
  var jobs = 1

  @Flag(help: "Print one JSON object instead of a table.")
  var json = false

  @Option(help: "Also write JUnit's XML.")
  var junit: String?

  @Option(help: "Also write a page for people, HTML in one file.")
  var html: String?

  @OptionGroup var tokenizer: TokenizerFile

  func validate() throws {
    guard timeout > 0, timeout < 1e6 else { throw ValidationError("--timeout must be a number of seconds.") }
    guard [runtime, results, server.endpoint].count(where: { $0 != nil }) == 1 else {
      throw ValidationError("Give one of --runtime, --results and --endpoint.")
    }
    if server.endpoint != nil, resume != nil {
      throw ValidationError("--resume goes with --runtime: of an endpoint --bodies keeps what it said.")
    }
    if results != nil, resume != nil {
      throw ValidationError("--resume goes with --runtime: answers in files are judged anew each time.")
    }
    let written = [junit, html, resume, server.bodies].compactMap(\.self)
    for (n, a) in written.enumerated() {
      if written[..<n].contains(where: { a == $0 || isSamePlace(a, $0) }) {
        throw ValidationError("--junit, --html, --resume and --bodies must name different files.")
      }
    }
    guard (1...64).contains(jobs) else { throw ValidationError("--jobs must be from 1 to 64.") }
    if let shard, parts(of: shard) == nil {
      throw ValidationError("--shard must be like 2/8: which part, of how many.")
    }
  }

  /// Which part of how many, both from 1.
  private func parts(of shard: String) -> (part: Int, count: Int)? {
    let numbers = shard.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
    guard numbers.count == 2, let part = numbers[0], let count = numbers[1], part >= 1, part <= count else {
      return nil
    }
    return (part, count)
  }

  func run() throws {
    let suite = server.endpoint == nil ? nil : try chosen.suite.endpoint()
    let all = try chosen.all() + (suite?.cases ?? [])
    var cases = try chosen.read(from: all)
    if let shard, let (part, count) = parts(of: shard) {
      let whole = cases.count
      // Every eighth, so that parts take as long as each other.
      cases = cases.enumerated().filter { $0.offset % count == part - 1 }.map(\.element)
      guard !cases.isEmpty else {
        throw InputError(
          .wrongArgument, "--shard \(shard)", expected: "a part with a case in it", found: "none of \(whole)",
          advice: "divide by less")
      }
    }
    let known = try known.map { try readKnown($0, ids: Set(all.map(\.id))) } ?? [:]
    let manifest = try chosen.suite.manifest()
    // Before anything is asked: whether they can be written.
    let inputs = [self.known, resume, tokenizer.tokenizer, server.recording].compactMap(\.self)
    let (junitFile, htmlFile) = (
      try junit.map { try NewFile($0, sparing: inputs) }, try html.map { try NewFile($0, sparing: inputs) }
    )
    let bodiesFile = try server.bodies.map { try NewFile($0, sparing: inputs) }
    let folder = try ScratchFolder("pixtral-ref-conformance")
    var recorder: Recorder?
    func answering(_ n: Int) throws -> any Answering {
      if server.endpoint != nil {
        let asked = try server.open(
          timeout: timeout, bodies: bodiesFile, tokenizer: tokenizer.read(), suite: suite)
        recorder = asked.recorder
        return asked.server
      }
      if let results { return try AnswerFiles(results, scratch: folder.part(n)) }
      return try Runtime(runtime ?? "", folder: folder.part(n), timeout: timeout)
    }
    let first = try answering(0)
    for feature in first.description.unknownFeatures(beside: manifest?.features ?? []).prefix(5) {
      Console.warn("the runtime lists the feature \(shortened(feature)), which no question needs")
    }
    let log = try resume.map {
      try RunLog($0, first.description, suite: manifest?.sha256 ?? "", cases: cases)
    }
    let jobs = first.description.mayRunInParallel ? jobs : 1
    if self.jobs > 1, jobs == 1 {
      Console.message("The runtime does not list the feature parallel: one session is used.")
    }
    let run = ConformanceRun(
      cases, tokenizer: try tokenizer.read(), faults: try chosen.suite.faults(),
      checkpoints: CheckpointFolders(in: folder.path, tokenizerFile: try tokenizer.path()), log: log,
      evidence: html.map { _ in EvidenceRoom(sparing: Set(known.keys)) }
    ) { done, id in Console.progress(done: done, of: cases.count, id) }
    let verdicts = try run(first, jobs: jobs, another: answering)
    Console.progress("")
    let endpoint = first as? Endpoint
    let findings = try endpoint?.findings(verdicts, tokenizer: tokenizer.read())
    if let failure = endpoint?.failure { throw failure }
    let report = Report(first.description, verdicts, known: known, suite: manifest, findings: findings)
    // What was found out is said first: there may be no room for files.
    if json { Console.out(report.json.text()) } else { show(report, again: again) }
    try recorder?.finish()
    if let junitFile {
      try junitFile.write(Array(report.junit.utf8))
      try junitFile.finish()
    }
    if let htmlFile {
      try htmlFile.write(page(report, cases))
      try htmlFile.finish()
    }
    if !report.passed { throw ExitCode.comparisonFailed }
  }

  /// The command that repeats the run, for one case to be added.
  private var again: String {
    let who = runtime.map { ["--runtime", $0] } ?? results.map { ["--results", $0] } ?? server.repeated
    return (["pixtral-ref conformance run"] + (who + repeated).map(shellWord)).joined(separator: " ")
  }

  /// What a repetition needs beside who is asked.
  private var repeated: [String] {
    (chosen.suite.fixtures.map { ["--fixtures", $0] } ?? [])
      + (timeout == 60 ? [] : ["--timeout", "\(timeout)"])
      + (tokenizer.tokenizer.map { ["--tokenizer", $0] } ?? [])
  }

  private func page(_ report: Report, _ cases: [ConformanceCase]) throws -> [UInt8] {
    let root = try chosen.suite.folder()
    // An installed program has the cases without the documents.
    let document = try? MappedFile("\(root)/../../Docs/Faults.md").withBytes {
      String(decoding: $0, as: UTF8.self)
    }
    let context = HTMLPage.Context(
      runtime: runtime ?? results ?? server.endpoint.map(Endpoint.shown) ?? "",
      option: runtime != nil ? "--runtime" : results != nil ? "--results" : "--endpoint",
      options: server.repeated.dropFirst(2) + repeated,
      date: dateNow(), version: Program.version, suite: report.suite?.version ?? "unknown", cases: cases,
      mistakes: document.map(KnownMistakes.init) ?? KnownMistakes())
    return Array(HTMLPage(report, context).text.utf8)
  }

  /// - ids: of all cases of the suite.
  private func readKnown(_ path: String, ids: Set<String>) throws -> [String: String] {
    let file = try MappedFile(path)
    let limit = 1 << 24
    guard file.bytes.count <= limit else {
      throw InputError(
        .wrongArgument, path, expected: "a list of at most \(limit) bytes", found: "\(file.bytes.count)")
    }
    let lines = file.withBytes {
      $0.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map(Array.init)
    }
    var known: [String: String] = [:]
    for (n, bytes) in lines.enumerated() {
      // Windows ends lines in two characters.
      let line = String(
        decoding: bytes.last == UInt8(ascii: "\r") ? bytes.dropLast() : bytes[...], as: UTF8.self)
      let words = line.split(separator: " ", maxSplits: 1)
      if words.isEmpty || words[0].hasPrefix("#") { continue }
      func refuse(_ expected: String, _ found: some StringProtocol, _ advice: String = "") -> InputError {
        InputError(
          .wrongArgument, "\(path), line \(n + 1)", expected: expected, found: "\"\(found)\"", advice: advice)
      }
      guard words.count == 2 else { throw refuse("an id and a reason", line) }
      let id = String(words[0])
      // One that is misspelt would excuse nothing, and one that is gone would stay for ever.
      guard ids.contains(id) else {
        throw refuse("the id of a case", id, "pixtral-ref conformance list shows them")
      }
      guard known.updateValue(String(words[1]), forKey: id) == nil else { throw refuse("each id once", id) }
    }
    return known
  }
}

/// `2026-01-31 12:00 UTC`.
private func dateNow() -> String {
  var now = time(nil)
  var parts = tm()
  gmtime_r(&now, &parts)
  var text = [CChar](repeating: 0, count: 64)
  let count = strftime(&text, text.count, "%Y-%m-%d %H:%M UTC", &parts)
  return String(decoding: text[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
