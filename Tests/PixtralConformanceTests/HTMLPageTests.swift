import PixtralReference
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralConformance
@testable import PixtralReference

@Suite("The page of a run")
struct HTMLPageTests {
  // MARK: - Makings

  private func question(
    _ stage: Stage, _ id: String = "a/case", title: String = "One fact.", exposes: [String] = []
  ) throws -> ConformanceCase {
    let text = """
      {"id": \(JSON.string(id).text()), "title": \(JSON.string(title).text()), "stage": "\(stage.rawValue)",
       "exposes": \(JSON.array(exposes.map(JSON.string)).text()), "requires": [], "conflicts_with": [],
       "subject": {"operation": "an operation"}, "inputs": {"text": "asked"}}
      """
    return try Array(text.utf8).withUnsafeBytes {
      try ConformanceCase(PythonValue(json: $0, place: "test"), request: nil, folder: ".", place: "test")
    }
  }

  private func runtime(_ name: String = "a runtime") throws -> RuntimeDescription {
    try RuntimeDescription([
      "name": .string(name), "version": "1", "arithmetic": "float32", "features": [],
    ])
  }

  private func page(
    _ verdicts: [CaseVerdict], _ cases: [ConformanceCase] = [], name: String = "a runtime",
    command: String = "run me", mistakes: KnownMistakes = KnownMistakes()
  ) throws -> String {
    let report = Report(try runtime(name), verdicts, known: [:])
    return HTMLPage(
      report,
      HTMLPage.Context(
        runtime: command, date: "2026-01-31 12:00 UTC", version: "1", suite: "2", cases: cases,
        mistakes: mistakes)
    ).text
  }

  /// Three taps of which the second is far.
  private let curve = ErrorCurve([
    tap("vision.patch_conv", 1e-8), tap("vision.ln_pre", 1e-4), tap("logits", 1e-6),
  ])

  private static func tap(_ name: String, _ relF: Double) -> Comparison.Tap {
    let limit = DistanceLimit(noise: 1e-6)
    let distance = Distance(relF: relF, worstRow: relF, maxOverRMS: relF)
    return Comparison.Tap(name: name, limit: limit, verdict: limit.verdict(distance))
  }

  private func picture(side: Int, wrong: (row: Int, column: Int)?) -> DifferencePicture {
    let expected = [UInt8](repeating: 100, count: side * side * 3)
    var found = expected
    if let wrong { found[(wrong.row * side + wrong.column) * 3] = 250 }
    return DifferencePicture(samples: expected, found, width: side, height: side)
  }

  private func noise(_ seed: UInt64, side: Int) -> DifferencePicture {
    var draw = Draw(seed: seed)
    let samples = (0..<2).map { _ in
      (0..<side * side * 3).map { _ in UInt8(truncatingIfNeeded: draw.next()) }
    }
    return DifferencePicture(samples: samples[0], samples[1], width: side, height: side)
  }

  /// One of each kind of evidence.
  private func manyKinds() throws -> String {
    let cases = try [
      question(.tokens, "tokens/a"), question(.tokens, "tokens/b"), question(.pixels, "image/c"),
      question(.model, "model/d"), question(.grid, "image/e"), question(.rgb, "image/f"),
    ]
    let window = TokenWindow(expected: [1, 3, 9], found: [1, 4], differAt: 1) { $0 < 5 ? "<\($0)>" : nil }
    return try page(
      [
        CaseVerdict(cases[0], .failed, "token 1", evidence: .tokens(window)),
        CaseVerdict(cases[1], .failed, evidence: .texts(TextWindow(expected: "a<b", found: "a&b"))),
        CaseVerdict(cases[2], .failed, evidence: .picture(picture(side: 4, wrong: (1, 2)))),
        CaseVerdict(cases[3], .undecided, tap: "logits", distance: 1, limit: 2, evidence: .curve(curve)),
        CaseVerdict(cases[4], .crashed, "signal 11"), CaseVerdict(cases[5], .unsupported, "no"),
      ], cases)
  }

  // MARK: - The whole

  @Test("Every element that is opened is closed, in order")
  func wellFormed() throws {
    var open: [Substring] = []
    for match in try manyKinds().matches(of: /<(\/?)([A-Za-z][A-Za-z0-9]*)((?:"[^"]*"|[^">])*)>/) {
      let (_, slash, name, rest) = match.output
      if slash == "/" {
        #expect(open.popLast() == name)
      } else if !rest.hasSuffix("/") {
        open.append(name)
      }
    }
    #expect(open.isEmpty)
  }

  @Test("It runs nothing and fetches nothing")
  func alone() throws {
    let page = try manyKinds()
    #expect(!page.contains("<script") && !page.contains("://") && !page.contains("@import"))
    #expect(page.matches(of: /\s(?:src|href)="(?!data:|#)/).isEmpty)
    #expect(page.matches(of: /\son[a-z]+=/).isEmpty)
  }

  @Test("What a runtime sends is text, whatever is in it")
  func hostile() throws {
    let hostile = "<script>alert('1')</script>\"&\u{0}\u{1b}[2J\u{202e}\u{fffe}"
    let question = try question(.grid, hostile, title: hostile)
    let page = try page(
      [CaseVerdict(question, .failed, hostile, tap: hostile)], [question], name: hostile, command: hostile)
    #expect(!page.contains("<script"))
    #expect(
      page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;\\u0000\\u001b[2J\\u202e"))
    #expect(page.unicodeScalars.allSatisfy { $0 == "\n" || $0.value >= 0x20 && $0.value != 0xfffe })
  }

  @Test("It stays below 5 MB, whatever fails and whatever was sent")
  func bounded() throws {
    let long = String(repeating: "\"", count: 1 << 20)
    var verdicts: [CaseVerdict] = []
    var cases: [ConformanceCase] = []
    for stage in Stage.allCases {
      for n in 0..<1000 {
        let question = try question(stage, "\(stage)/\(n)", title: String(long.prefix(300)))
        cases.append(question)
        let evidence: Evidence? = n < 3 ? .picture(noise(UInt64(n), side: 384)) : nil
        verdicts.append(CaseVerdict(question, .failed, n < 20 ? long : nil, evidence: evidence))
      }
    }
    let page = try page(verdicts, cases, name: long, command: long)
    #expect(page.utf8.count < 5_000_000)
    #expect(page.contains("this page has no room for more"))
  }

  // MARK: - What it says

  @Test(
    "Whether it has passed stands in one sentence",
    arguments: [
      ([.passed, .passed], "Passed: none of 2 cases asked failed."),
      (
        [.passed, .undecided, .unsupported],
        "Passed: none of 2 cases asked failed, and 1 could not be decided."
      ),
      ([.passed, .failed, .crashed, .unsupported], "Not passed: 2 of 3 cases asked failed."),
      ([.unsupported], "Nothing was asked: the runtime claims no feature of these cases."),
    ] as [([CaseVerdict.Verdict], String)])
  func sentence(verdicts: [CaseVerdict.Verdict], sentence: String) throws {
    let question = try question(.grid)
    #expect(try page(verdicts.map { CaseVerdict(question, $0) }, [question]).contains(sentence))
  }

  @Test("A failure has the command that repeats it alone, as a shell takes it")
  func command() throws {
    let question = try question(.grid, "image/grid/1x1")
    let page = try page([CaseVerdict(question, .failed)], [question], command: "sh -c 'it'")
    let command =
      #"pixtral-ref conformance run --runtime 'sh -c '\''it'\''' --cases image/grid/1x1"#
    #expect(page.contains(html(command)))
  }

  @Test("Tokens stand side by side around the first that differs")
  func tokens() throws {
    let question = try question(.tokens)
    let window = TokenWindow(expected: Array(0..<40), found: Array(0..<20), differAt: 20) { "p\($0)" }
    let page = try page([CaseVerdict(question, .failed, evidence: .tokens(window))], [question])
    #expect(!page.contains("<code>p14</code>") && page.contains("<code>p15</code>"))
    #expect(page.contains("<code>p26</code>") && !page.contains("<code>p27</code>"))
    #expect(page.contains("the end"))
  }

  @Test("Of many failures of a stage ten are shown, and the rest is counted")
  func many() throws {
    let cases = try (0..<300).map { try question(.grid, "image/grid/\($0)") }
    let page = try page(cases.map { CaseVerdict($0, .failed) }, cases)
    #expect(page.matches(of: /<article/).count == 10)
    #expect(page.contains("<summary>290 cases more</summary>"))
    #expect(page.contains("and 190 more"))
  }

  @Test("A mistake that shows first at the tap is explained, and no other")
  func mistakes() throws {
    let known = KnownMistakes(
      """
      | `A-tanh` | adapter | `adapter.gelu` | 1 | `x` |
      | `A-bias` | adapter | `adapter.w_in` | 1 | `x` |
      ### A-tanh
      What `it` is.
      - Seen in: nowhere.
      - Remedy: read [this](page.md), and
        on.
      ### A-bias
      Other.
      - Remedy: none.
      """)
    let question = try question(.model, exposes: ["A-tanh", "A-bias"])
    let page = try page(
      [CaseVerdict(question, .failed, tap: "adapter.gelu")], [question], mistakes: known)
    #expect(page.contains("What <code>it</code> is. <em>Remedy:</em> read this, and on."))
    #expect(page.contains(##"<a href="#mistake-A-tanh">A-tanh</a>"##) && !page.contains("A-bias"))
  }

  @Test("Beside a mistake that a failure looks like, the others that would show there are not explained")
  func oneMistake() throws {
    let known = KnownMistakes(
      """
      ### A-tanh
      One.
      - Remedy: none.
      ### A-bias
      Other.
      - Remedy: none.
      """)
    let question = try question(.tokens, exposes: ["A-tanh", "A-bias"])
    var verdict = CaseVerdict(question, .failed)
    verdict.explaining = ["A-bias": true, "A-tanh": false]
    let page = try page([verdict], [question], mistakes: known)
    #expect(page.contains("mistake-A-bias") && !page.contains("mistake-A-tanh"))
  }

  @Test("Every mistake of Docs/Faults.md has a remedy, and a place where it shows")
  func document() throws {
    let known = KnownMistakes(String(decoding: try bytes(of: "\(checkout)/Docs/Faults.md"), as: UTF8.self))
    #expect(known.all.count > 30)
    #expect(known.all.filter { $0.remedy.isEmpty || $0.what.isEmpty || $0.showsFirstAt.isEmpty }.isEmpty)
    #expect(known.first(at: "adapter.gelu").map(\.id) == ["A-tanh", "A-gelu-table"])
  }

  // MARK: - Curve and picture

  @Test("The axis of the curve is logarithmic: equal ratios are equally far apart")
  func logarithmic() throws {
    let heights = CurveDrawing(curve, .wide).svg.firstMatch(of: /class="curve" d="([^"]*)"/)!.output.1
      .split(whereSeparator: { "ML".contains($0) }).map { Double($0.split(separator: " ")[1])! }
    try #require(heights.count == 3)
    #expect(abs((heights[0] - heights[2]) - (heights[2] - heights[1])) < 0.2)
  }

  @Test("The curve names the tap that is off first")
  func firstTap() {
    #expect(curve.first == 1)
    #expect(CurveDrawing(curve, .narrow).svg.contains(">first: vision.ln_pre</text>"))
  }

  @Test("Zero and what is no number have a place on the axis")
  func oddDistances() {
    let odd = ErrorCurve([
      Self.tap("vision.patch_conv", 0), Self.tap("vision.ln_pre", .infinity), Self.tap("logits", .nan),
    ])
    #expect(CurveDrawing(odd, .wide).svg.matches(of: /="[^"]*(?:nan|inf)/).isEmpty)
  }

  @Test("One pixel that is off stays white where an image is made smaller")
  func smaller() {
    let picture = picture(side: 1000, wrong: (row: 999, column: 500))
    #expect(picture.difference.width == 334)
    #expect(picture.difference.samples.count { $0 == 255 } == 3)
    #expect(picture.wrongPixels == 1 && picture.worst == (999, 500) && picture.largest == 150)
  }

  @Test("Normalised pixels are shown as the colours that they were")
  func colours() {
    let grey: [Float] = (0..<3).map {
      Float((0.5 - [0.48145466, 0.4578275, 0.40821073][$0]) / [0.26862954, 0.26130258, 0.27577711][$0])
    }
    let picture = DifferencePicture(pixels: grey, [.nan, grey[1], grey[2]], width: 1, height: 1, allowed: 1)
    #expect(picture.expected.samples == [128, 128, 128])
    #expect(picture.found.samples == [0, 128, 128])
    #expect(picture.difference.samples == [255, 255, 255])
  }

  @Test("Evidence is kept of the first failures, and of none that are known")
  func room() throws {
    let room = EvidenceRoom(sparing: ["known"])
    #expect(!room.take(try question(.tokens, "known")))
    let taken = try (0..<20).filter { room.take(try question(.tokens, "\($0)")) }
    #expect(taken == Array(0..<10))
  }

  @Test("Bytes become base64 that reads back", arguments: 0..<8)
  func base64Bytes(count: Int) {
    let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 97 + 200) }
    #expect(base64(base64(bytes)) == bytes)
  }
}
