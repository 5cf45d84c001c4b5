import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText

/// The verdicts of a run as a page for people: one file, without scripts and without anything from
/// elsewhere, good on a phone, in the dark and on paper.
///
/// Whatever a runtime has sent stands in it as text, shortened: the page stays below 5 MB.
package struct HTMLPage {
  /// What a report does not know of its run.
  package struct Context: Sendable {
    /// The command of the runtime, and further options that a repetition needs.
    let runtime: String
    /// How it is given: `--runtime`, or `--results` of a folder.
    let option: String
    let options: [String]
    /// `2026-01-31 12:00 UTC`.
    let date: String
    /// Of pixtral-ref, and of the fixtures.
    let version: String
    let suite: String
    /// Those that were asked.
    let cases: [ConformanceCase]
    let mistakes: KnownMistakes

    package init(
      runtime: String, option: String = "--runtime", options: [String] = [], date: String, version: String,
      suite: String,
      cases: [ConformanceCase],
      mistakes: KnownMistakes = KnownMistakes()
    ) {
      (self.runtime, self.options, self.date, self.version) = (runtime, options, date, version)
      (self.suite, self.cases, self.mistakes, self.option) = (suite, cases, mistakes, option)
    }
  }

  /// Bytes of pictures; those that come behind are left out.
  private static let roomForPictures = 3_500_000
  /// Ids that are listed where no more is said of them.
  private static let listed = 100

  private let report: Report
  private let context: Context
  private let cases: [String: ConformanceCase]
  private let failures: [Stage: [CaseVerdict]]
  /// Of the runtime, as a shell takes it.
  private let command: String
  /// Which pictures have room, by the ids of their cases.
  private let pictures: [String: String]

  package init(_ report: Report, _ context: Context) {
    (self.report, self.context, command) = (report, context, shellWord(context.runtime))
    cases = Dictionary(context.cases.map { ($0.id, $0) }) { first, _ in first }
    failures = Dictionary(grouping: report.failures, by: \.stage)
    var pictures: [String: String] = [:]
    var room = Self.roomForPictures
    for verdict in report.failures {
      guard case .picture(let picture) = verdict.evidence else { continue }
      let drawn = Self.drawn(picture)
      if drawn.utf8.count <= room {
        room -= drawn.utf8.count
        pictures[verdict.id] = drawn
      }
    }
    self.pictures = pictures
  }

  package var text: String {
    let title = "\(shortened(report.runtime.name, to: 60)): \(report.passed ? "passed" : "not passed")"
    return """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8"/>
      <meta name="viewport" content="width=device-width, initial-scale=1"/>
      <meta name="color-scheme" content="light dark"/>
      <meta name="referrer" content="no-referrer"/>
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"/>
      <title>\(html(title))</title>
      <style>
      \(pageStyle)
      </style>
      </head>
      <body>
      <main>
      \(blocks([head, matrix, found, wrongFirst, failed, undecided, expectedFailures, notAsked, mistakes, legend]))
      </main>
      </body>
      </html>

      """
  }

  private func blocks(_ parts: [String]) -> String { parts.filter { !$0.isEmpty }.joined(separator: "\n") }

  // MARK: - What was judged

  private var asked: Int { report.verdicts.count { $0.verdict != .unsupported } }

  private var head: String {
    let runtime = report.runtime
    let facts: [(String, String)] = [
      ("Version", runtime.version.isEmpty ? "not said" : theirs(runtime.version)),
      ("Arithmetic", runtime.arithmetic.rawValue),
      ("Suite", "\(html(context.suite)), \(cases(context.cases.count))"),
      ("Judged by", "pixtral-ref \(html(context.version))"), ("Date", html(context.date)),
    ]
    return """
      <header>
      <h1>\(runtime.name.isEmpty ? "A runtime without a name" : theirs(runtime.name))</h1>
      <p class="verdict \(report.passed ? "good" : "bad")"><span class="mark" aria-hidden="true">\(report.passed ? "✓" : "✗")</span> \(sentence)</p>
      <dl>\(facts.map { "<div><dt>\($0.0)</dt><dd>\($0.1)</dd></div>" }.joined())</dl>
      </header>
      """
  }

  /// Whether it has passed, in one sentence.
  private var sentence: String {
    if report.isEmpty { return "Nothing was asked: the runtime claims no feature of these cases." }
    let failed = report.failures.count
    if failed > 0 { return "Not passed: \(grouped(failed)) of \(cases(asked)) asked failed." }
    let surprises = report.unexpectedPasses.count
    if surprises > 0 {
      return "Not passed: \(cases(surprises)) passed that \(surprises == 1 ? "is" : "are") known to fail."
    }
    let undecided = report.count(.undecided)
    return
      "Passed: none of \(cases(asked)) asked failed\(undecided > 0 ? ", and \(undecided) could not be decided" : "")."
  }

  private func cases(_ count: Int) -> String { "\(grouped(count)) case\(count == 1 ? "" : "s")" }

  private var matrix: String {
    let shown = CaseVerdict.Verdict.allCases.filter { report.count($0) > 0 }
    let stages = Stage.allCases.filter { stage in report.verdicts.contains { $0.stage == stage } }
    let heads = shown.map { #"<th scope="col">\#($0.rawValue)</th>"# }.joined()
    let rows = stages.map { stage in
      let cells = shown.map { verdict in
        let count = report.count(verdict, of: stage)
        let kind = count == 0 ? "none" : verdict.isFailure ? "bad" : verdict == .passed ? "good" : ""
        return #"<td class="\#(kind)">\#(count == 0 ? "–" : grouped(count))</td>"#
      }
      return #"<tr><th scope="row">\#(stage.rawValue)</th>\#(cells.joined())</tr>"#
    }
    return """
      <section>
      <h2>Stages</h2>
      <div class="scroll"><table class="figures"><thead><tr><th scope="col">stage</th>\(heads)</tr></thead><tbody>
      \(rows.joined(separator: "\n"))
      </tbody></table></div>
      </section>
      """
  }

  /// What the answers of an endpoint show together, and who is suspected.
  private var found: String {
    guard let findings = report.findings else { return "" }
    return """
      <section>
      <h2>Of the server</h2>
      <ul>
      \(findings.lines.map { "<li>\(theirs(Self.sentence($0), to: 500))</li>" }.joined(separator: "\n"))
      </ul>
      </section>
      """
  }

  // MARK: - What is wrong first

  private var wrongFirst: String {
    guard let first = report.firstDivergence else { return "" }
    let place =
      first.tap.map { "at <code>\(html($0))</code>" } ?? "in stage <code>\(first.stage.rawValue)</code>"
    return """
      <section>
      <h2>Wrong first</h2>
      <p>It goes wrong first \(place), in the case <a href="#\(anchor(first))"><code>\(html(first.id))</code></a>\(title(first)) What comes behind it may be wrong for this reason alone.</p>
      \(measured(first))
      \(advice(first))
      </section>
      """
  }

  private func title(_ verdict: CaseVerdict) -> String {
    guard let title = cases[verdict.id]?.title else { return "." }
    return ": “\(html(title))”"
  }

  private func anchor(_ verdict: CaseVerdict) -> String { html("case-\(verdict.id)") }

  /// What was expected and found, and how far apart that is.
  private func measured(_ verdict: CaseVerdict) -> String {
    var sentences: [String] = []
    if let distance = verdict.distance, let limit = verdict.limit {
      let ratio = limit > 0 && distance > limit ? distance / limit : 0
      let times =
        ratio > 0 && ratio < 1e6
        ? ", \(ratio < 10 ? fixed(ratio) : grouped(Int(ratio))) times the limit of" : "; the limit is"
      sentences.append("The distance is \(scientific(distance))\(times) \(scientific(limit)).")
    }
    if let detail = verdict.detail { sentences.append(theirs(Self.sentence(detail), to: 500)) }
    return sentences.isEmpty ? "" : "<p>\(sentences.joined(separator: " "))</p>"
  }

  /// With a capital letter, and with an end.
  private static func sentence(_ text: String) -> String {
    let text = text.prefix(1).uppercased() + text.dropFirst()
    return text.last.map { $0.isLetter || $0.isNumber || $0 == ")" } == true ? text + "." : text
  }

  /// What it looks like, and what to look at next.
  private func advice(_ verdict: CaseVerdict) -> String {
    var lines: [String] = []
    let named = verdict.looksLike
    if !named.isEmpty {
      lines.append("<strong>It looks like \(named.map(link).joined(separator: ", or like ")).</strong>")
    }
    let next =
      verdict.tap.flatMap { NextStep.at(tap: $0) }
      ?? NextStep.within(verdict.stage, operation: cases[verdict.id]?.operation ?? "")
    lines.append("Look at: \(html(markdown: next))")
    let known = candidates(verdict)
    if named.isEmpty, !known.isEmpty {
      let place = verdict.tap == nil ? "in this case" : "here first"
      lines.append(
        "Known mistakes that show \(place), to compare with: \(known.map(link).joined(separator: ", ")).")
    }
    return lines.map { "<p>\($0)</p>" }.joined(separator: "\n")
  }

  /// Mistakes that would show in the case, or at the tap first; of many the page names some.
  private func candidates(_ verdict: CaseVerdict) -> [String] {
    let exposes = cases[verdict.id]?.exposes ?? []
    let ids =
      verdict.tap.map { tap in context.mistakes.first(at: tap).map(\.id).filter(exposes.contains) } ?? exposes
    return Array((verdict.stage == .model && verdict.tap == nil ? [] : ids).prefix(8))
  }

  private func link(_ id: String) -> String {
    context.mistakes[id] == nil ? html(id) : ##"<a href="#mistake-\##(html(id))">\##(html(id))</a>"##
  }

  // MARK: - The failures

  private func shown(_ stage: Stage) -> ArraySlice<CaseVerdict> {
    (failures[stage] ?? []).prefix(EvidenceRoom.failures)
  }

  private var failed: String {
    let stages = Stage.allCases.filter { failures[$0] != nil }
    if stages.isEmpty { return "" }
    let long = command.utf8.count > Self.longestCommand
    let once =
      long
      ? "<p>The commands below begin with this one:</p><pre>RUNTIME=\(html(shellWord(shortened(context.runtime, to: 20_000))))</pre>"
      : ""
    let parts = stages.map { stage in
      let all = failures[stage]!
      let rest = all.dropFirst(EvidenceRoom.failures).map(\.id)
      return """
        <h3>\(stage.rawValue): \(cases(all.count))</h3>
        \(shown(stage).map(article).joined(separator: "\n"))
        \(others(rest))
        """
    }
    return "<section>\n<h2>Failures</h2>\n\(once)\n\(parts.joined(separator: "\n"))\n</section>"
  }

  private func others(_ ids: [String]) -> String {
    if ids.isEmpty { return "" }
    let more =
      ids.count > Self.listed
      ? "<p>… and \(grouped(ids.count - Self.listed)) more, which <code>--json</code> lists.</p>" : ""
    return "<details><summary>\(cases(ids.count)) more</summary>"
      + "<p class=\"ids\">\(ids.prefix(Self.listed).map { "<code>\(html($0))</code>" }.joined(separator: " "))</p>\(more)</details>"
  }

  private func article(_ verdict: CaseVerdict) -> String {
    """
    <article id="\(anchor(verdict))">
    <h4><span class="kind \(verdict.verdict.isFailure ? "bad" : "doubt")">\(verdict.verdict.rawValue)</span> <code>\(html(verdict.id))</code></h4>
    \(cases[verdict.id].map { "<p class=\"title\">\(html($0.title))</p>" } ?? "")
    \(verdict.tap.map { "<p>At <code>\(html($0))</code>.</p>" } ?? "")
    \(measured(verdict))
    \(evidence(verdict))
    \(verdict.id == report.firstDivergence?.id ? "" : advice(verdict))
    <p class="again">Again, alone:</p><pre>\(html(again(verdict), keepingLines: true))</pre>
    </article>
    """
  }

  /// The command that repeats a case alone.
  private func again(_ verdict: CaseVerdict) -> String {
    let runtime = command.utf8.count > Self.longestCommand ? "\"$RUNTIME\"" : command
    return
      (["pixtral-ref conformance run \(context.option) \(runtime)"] + context.options.map(shellWord)
      + ["--cases \(shellWord(verdict.id))"]).joined(separator: " ")
  }

  private static let longestCommand = 1_000

  // MARK: - Evidence

  private func evidence(_ verdict: CaseVerdict) -> String {
    switch verdict.evidence {
    case .curve(let curve): drawn(curve)
    case .tokens(let window): drawn(window, verdict)
    case .texts(let window): drawn(window)
    case .picture: pictures[verdict.id] ?? "<p>Its picture is left out: this page has no room for more.</p>"
    case nil: ""
    }
  }

  private func drawn(_ curve: ErrorCurve) -> String {
    func key(_ form: String) -> String {
      #"<svg class="key" viewBox="0 0 26 12" aria-hidden="true">\#(form)</svg>"#
    }
    func line(_ name: String) -> String { key(#"<path class="\#(name)" d="M1 6H25"/>"#) }
    func mark(_ mark: ErrorCurve.Mark) -> String { key(CurveDrawing.shape(mark, 13, 6, 3.2)) }
    let measured = curve.points.contains { $0.noise != nil }
    var keys = ["\(line("curve")) your distance, relF"]
    if measured { keys.append("\(line("noise")) noise of right runs") }
    keys.append("\(line("limit")) limit")
    if measured { keys.append("\(line("far")) surely wrong above") }
    for kind in [ErrorCurve.Mark.close, .undecided, .far, .other]
    where curve.points.contains(where: { $0.mark == kind }) {
      keys.append("\(mark(kind)) \(kind.rawValue)")
    }
    return """
      <figure class="curve">
      \(CurveDrawing(curve, .wide).svg)
      \(CurveDrawing(curve, .narrow).svg)
      <figcaption>\(keys.map { "<span>\($0)</span>" }.joined(separator: " "))</figcaption>
      </figure>
      \(aroundFirst(curve))
      """
  }

  /// The taps around the first that is off, in figures.
  private func aroundFirst(_ curve: ErrorCurve) -> String {
    guard let first = curve.first else { return "" }
    let rows = curve.points.indices.filter { (first - 2...first + 3).contains($0) }.map { n in
      let point = curve.points[n]
      let figures =
        point.relF.map { "<td>\(scientific($0))</td><td>\(scientific(point.limit))</td>" }
        ?? "<td>–</td><td>\(scientific(point.limit))</td>"
      let words = point.why.map { theirs($0, to: 120) } ?? point.mark.rawValue
      return
        #"<tr\#(n == first ? #" class="first""# : "")><th scope="row"><code>\#(html(point.tap).replacing(".", with: ".<wbr/>"))</code></th>\#(figures)<td class="words">\#(words)</td></tr>"#
    }
    return """
      <div class="scroll"><table class="figures taps"><thead><tr><th scope="col">tap</th><th scope="col">relF</th><th scope="col">limit</th><th scope="col" class="words">verdict</th></tr></thead><tbody>
      \(rows.joined(separator: "\n"))
      </tbody></table></div>
      """
  }

  private func drawn(_ window: TokenWindow, _ verdict: CaseVerdict) -> String {
    func cells(_ tokens: [TokenWindow.Token], _ n: Int, _ count: Int) -> String {
      guard n < tokens.count else {
        return #"<td></td><td class="words">\#(isOneOver && window.start + n == count ? "the end" : "")</td>"#
      }
      let token = tokens[n]
      let piece = token.piece.map { "<code>\(html(shortened($0, to: 40)))</code>" } ?? "no such token"
      return #"<td>\#(token.id)</td><td class="words">\#(piece)</td>"#
    }
    // Where one has ended, that is its next cell.
    let isOneOver = window.expected.count != window.found.count
    let rows = (0..<min(12, max(window.expected.count, window.found.count))).map { n in
      let isSame =
        n < window.expected.count && n < window.found.count && window.expected[n] == window.found[n]
      let kind = window.start + n == window.first ? "first" : isSame ? "" : "differs"
      return
        #"<tr class="\#(kind)"><th scope="row">\#(window.start + n)</th>\#(cells(window.expected, n, window.expectedCount))\#(cells(window.found, n, window.foundCount))<td>\#(isSame ? "" : "≠")</td></tr>"#
    }
    return """
      \(question(verdict))
      <div class="scroll"><table class="figures tokens"><thead><tr><th scope="col">token</th><th scope="col" colspan="2">expected, of \(grouped(window.expectedCount))</th><th scope="col" colspan="2">found, of \(grouped(window.foundCount))</th><th></th></tr></thead><tbody>
      \(rows.joined(separator: "\n"))
      </tbody></table></div>
      """
  }

  /// What was asked, if it is short enough to read.
  private func question(_ verdict: CaseVerdict) -> String {
    guard let inputs = cases[verdict.id]?.inputs else { return "" }
    var bytes: [UInt8] = []
    inputs.write(to: &bytes, compact: true)
    return
      "<p class=\"again\">Asked:</p><pre>\(html(shortened(String(decoding: bytes, as: UTF8.self), to: 400)))</pre>"
  }

  private func drawn(_ window: TextWindow) -> String {
    func row(_ name: String, _ text: String) -> String {
      "<div><dt>\(name)</dt><dd><code>\(html(window.before))<mark>\(html(text.isEmpty ? "∅" : text))</mark></code></dd></div>"
    }
    return "<p>The texts differ from character \(grouped(window.first)) on:</p>"
      + "<dl class=\"texts\">\(row("expected", window.expected))\(row("found", window.found))</dl>"
  }

  private static func drawn(_ picture: DifferencePicture) -> String {
    func figure(_ image: RGBImage, _ caption: String) -> String {
      // A line of pixels is drawn as a band.
      let height = max(image.height, image.width / 12)
      let data = base64(PNG.encode(image))
      return
        #"<figure><img src="data:image/png;base64,\#(data)" alt="\#(html(caption))" style="aspect-ratio:\#(image.width)/\#(height)"/><figcaption>\#(html(caption))</figcaption></figure>"#
    }
    let scale =
      picture.columnsInOne * picture.rowsInOne == 1
      ? ""
      : " Each pixel here stands for \(picture.columnsInOne) × \(picture.rowsInOne); of their differences it has the largest."
    let rows =
      picture.rowNumbers.map { " The case keeps the rows \($0.map(String.init).joined(separator: ", "))." }
      ?? ""
    let all = picture.width * picture.height
    let share = Double(picture.wrongPixels) / Double(max(1, all)) * 100
    return """
      <div class="pictures">
      \(figure(picture.expected, "expected"))
      \(figure(picture.found, "found"))
      \(figure(picture.difference, "difference: black is none, white \(picture.largest < 10 ? scientific(picture.largest) : fixed(picture.largest, 0))"))
      </div>
      <p>\(grouped(picture.wrongPixels)) of \(grouped(all)) pixels are off (\(share < 0.1 ? "below 0.1" : fixed(share))%), most in row \(picture.rowNumbers?[picture.worst.row] ?? picture.worst.row), column \(picture.worst.column).\(rows)\(scale)</p>
      """
  }

  // MARK: - The rest

  private var undecided: String {
    let all = report.verdicts.filter { $0.verdict == .undecided }
    if all.isEmpty { return "" }
    return """
      <section>
      <h2>Undecided</h2>
      <p>Farther from the truth than right runs of this arithmetic were measured to be, and not far enough to be surely wrong. A run in a wider arithmetic decides it.</p>
      \(all.prefix(EvidenceRoom.failures).map(article).joined(separator: "\n"))
      \(others(all.dropFirst(EvidenceRoom.failures).map(\.id)))
      </section>
      """
  }

  /// Cases that were known to fail.
  private var expectedFailures: String {
    let failed = report.verdicts.filter { $0.verdict.isFailure && report.known[$0.id] != nil }
    func list(_ verdicts: [CaseVerdict]) -> String {
      let items = verdicts.prefix(Self.listed).map {
        "<li><code>\(html($0.id))</code>: \(theirs(report.known[$0.id] ?? ""))</li>"
      }
      let more = verdicts.count - Self.listed
      return "<ul>\(items.joined())\(more > 0 ? "<li>… and \(grouped(more)) more</li>" : "")</ul>"
    }
    let surprises = report.unexpectedPasses
    return blocks([
      surprises.isEmpty
        ? ""
        : "<section><h2>Passed, and known to fail</h2><p>Take them off the list.</p>\(list(surprises))</section>",
      failed.isEmpty
        ? "" : "<section><h2>Known to fail</h2><p>These do not count.</p>\(list(failed))</section>",
    ])
  }

  private var notAsked: String {
    let all = report.verdicts.filter { $0.verdict == .unsupported }
    if all.isEmpty { return "" }
    let reasons = Dictionary(grouping: all) { $0.detail ?? "no reason given" }.mapValues(\.count)
      .sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    let items = reasons.prefix(10).map { "<li>\(cases($0.value)): \(theirs($0.key, to: 200))</li>" }
    let more = reasons.count - items.count
    return """
      <section>
      <h2>Not asked</h2>
      <p>\(cases(all.count)) of \(grouped(report.verdicts.count)) say nothing about this runtime.</p>
      <ul>\(items.joined())\(more > 0 ? "<li>… and \(grouped(more)) other reasons</li>" : "")</ul>
      </section>
      """
  }

  /// What Faults.md says of the mistakes that are named above.
  private var mistakes: String {
    let judged = Stage.allCases.flatMap { shown($0) }
    let ids = judged.flatMap { $0.looksLike.isEmpty ? candidates($0) : $0.looksLike }
    let named = context.mistakes.all.filter { ids.contains($0.id) }
    if named.isEmpty { return "" }
    let items = named.map { mistake in
      #"<div id="mistake-\#(html(mistake.id))"><dt>\#(html(mistake.id))</dt><dd>\#(html(markdown: mistake.what)) <em>Remedy:</em> \#(html(markdown: mistake.remedy))</dd></div>"#
    }
    return """
      <section>
      <h2>Mistakes named above</h2>
      <p>From Docs/Faults.md, which also says who made them and what hides them.</p>
      <dl class="mistakes">\(items.joined(separator: "\n"))</dl>
      </section>
      """
  }

  private var legend: String {
    let divergence =
      report.findings == nil
      ? ""
      : "What an endpoint says of log-probabilities is judged by divergences, which grow with the square of a distance: there the limits are 4 and 64 times the noise. "
    return """
      <footer>
      <p><em>relF</em> is ‖yours − reference‖ / ‖reference‖ over a whole tensor. The limit is twice the noise that right runs of the arithmetic were measured to have; above eight times the noise is surely wrong, between is undecided. \(divergence)Documents named here are in Docs of pixtral-ref: Model.md, Tokens.md, Images.md, Trace.md, Cases.md.</p>
      </footer>
      """
  }
}
