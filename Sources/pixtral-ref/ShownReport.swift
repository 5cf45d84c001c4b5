import PixtralConformance
import PixtralProgram
import PixtralReference
import PixtralStorage

/// A verdict for people: a table, what is wrong first, what it looks like, and how to go on.
///
/// - again: the command that repeats the run, to which a case can be added.
func show(_ report: Report, again: String) {
  let runtime = report.runtime
  let name = [runtime.name, runtime.version].filter { !$0.isEmpty }.map { onOneLine(shortened($0)) }
  Console.out("\(name.joined(separator: " ")), \(runtime.arithmetic.rawValue)\n")
  let shown = CaseVerdict.Verdict.allCases.filter { report.count($0) > 0 }
  let rows = Stage.allCases.filter { stage in report.verdicts.contains { $0.stage == stage } }.map { stage in
    [stage.rawValue] + shown.map { "\(report.count($0, of: stage))" }
  }
  Console.out(Console.table([["stage"] + shown.map(\.rawValue)] + rows).joined(separator: "\n"))

  if let findings = report.findings {
    Console.out("\n" + findings.lines.map { onOneLine($0) }.joined(separator: "\n"))
  }
  let failures = report.failures
  if let first = failures.first {
    Console.out("\nwrong first: \(first.id)\(first.tap.map { ", at \($0)" } ?? "")")
    for (names, count) in report.named {
      Console.out("looks like:  \(names), in \(counted(count, "case")) (Docs/Faults.md has the remedy)")
    }
    for verdict in failures.prefix(20) { show(verdict, again: again) }
    if failures.count > 20 { Console.out("\n… and \(failures.count - 20) more; --json has all") }
  }
  let surprises = report.unexpectedPasses
  for verdict in surprises.prefix(20) {
    Console.out("\n\(verdict.id) passes, and is known to fail: \(onOneLine(report.known[verdict.id] ?? ""))")
  }
  if surprises.count > 20 { Console.out("\n… and \(surprises.count - 20) more") }
  Console.out("\n\(end(of: report))")
}

/// Whether it has passed, and what is in the way.
private func end(of report: Report) -> String {
  if report.isEmpty {
    return "nothing was asked: the runtime claims no feature of these cases, or has no answer"
  }
  let (failures, surprises) = (report.failures.count, report.unexpectedPasses.count)
  let unexpected = "\(counted(surprises, "case")) passed that \(surprises == 1 ? "is" : "are") known to fail"
  let sentences =
    (failures > 0 ? ["\(counted(failures, "case")) failed"] : []) + (surprises > 0 ? [unexpected] : [])
  return sentences.isEmpty ? "nothing failed" : sentences.joined(separator: ", ")
}

private func show(_ verdict: CaseVerdict, again: String) {
  var text = "\n\(verdict.verdict.rawValue)  \(verdict.id)"
  if let tap = verdict.tap { text += "\n  at \(tap)" }
  if let distance = verdict.distance, let limit = verdict.limit {
    text += "\n  \(Console.scientific(distance)), the limit is \(Console.scientific(limit))"
  }
  if !verdict.looksLike.isEmpty { text += "\n  looks like \(verdict.looksLike.joined(separator: " or "))" }
  if let detail = verdict.detail { text += "\n  \(onOneLine(detail))" }
  Console.out(text + "\n  again: \(again) --cases \(quoted(verdict.id))")
}
