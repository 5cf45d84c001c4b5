import ArgumentParser
import PixtralReference
import PixtralStorage

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Compare two traces tap by tap.",
    discussion: """
      Judges by norm: relF is ‖candidate − reference‖ / ‖reference‖, worst row the same of the worst \
      row, max/RMS the largest difference over the reference's root mean square. Shape and positions \
      that are not finite come first; NaN always fails, and so does a tap that the candidate lacks. \
      Exits with 1 if any limit is exceeded, and with 2 if a file cannot be read. The limit depends on the \
      narrower dtype of the two: 1e-10 for F64, 3e-5 for F32, 1e-2 for F16, 5e-2 for BF16, ten times \
      that for a row, a hundred times for an element.
      """)

  @Argument(help: "A trace folder or a safetensors file with taps as tensors.")
  var reference: String

  @Argument(help: "The trace to judge.")
  var candidate: String

  @Option(help: "Which taps to compare, shell patterns separated by commas.")
  var taps: String?

  @Option(help: "The limit on relF, instead of the one that the dtypes imply.")
  var limit: Double?

  @Flag(help: "Print JSON instead of a table.")
  var json = false

  func validate() throws {
    guard taps.map({ !patterns($0).isEmpty }) ?? true else { throw ValidationError("--taps names no tap.") }
    if let limit, !(limit >= 0 && limit.isFinite) {
      throw ValidationError("--limit must be a number from 0.")
    }
  }

  func run() throws {
    let comparison = try Comparison(
      reference: TraceFile(reference), candidate: TraceFile(candidate),
      globs: patterns(taps), limit: limit.map(DistanceLimit.init(relF:)))
    if json {
      Console.out(comparison.json.text())
    } else {
      print(comparison)
    }
    if !comparison.passed { throw ExitCode.comparisonFailed }
  }

  private func print(_ comparison: Comparison) {
    var rows = [["tap", "relF", "worst row", "max/RMS", "limit", "verdict"]]
    for tap in comparison.taps {
      let limit = Console.scientific(tap.limit.relF)
      switch tap.verdict {
      case .close(let distance), .far(let distance):
        rows.append([
          tap.name, Console.scientific(distance.relF), Console.scientific(distance.worstRow),
          Console.scientific(distance.maxOverRMS), limit, tap.passed ? "close" : "FAR",
        ])
      default: rows.append([tap.name, "", "", "", limit, tap.verdict.text])
      }
    }
    Console.out(Console.table(rows).joined(separator: "\n"))
    let failed = comparison.taps.filter { !$0.passed }.count
    Console.out("")
    if !comparison.extra.isEmpty {
      Console.out("\(comparison.extra.count) taps of the candidate are not in the reference")
    }
    if let first = comparison.firstDivergence {
      Console.out(
        "\(failed) of \(comparison.taps.count) taps diverge; "
          + "the first is \(first.name): \(first.verdict.text)"
      )
    } else {
      Console.out("all \(comparison.taps.count) taps are close")
    }
  }
}

extension Comparison.Verdict {
  fileprivate var text: String {
    switch self {
    case .close(let distance): "relF \(Console.scientific(distance.relF))"
    case .far(let distance):
      "relF \(Console.scientific(distance.relF)), "
        + "worst row \(distance.worstRowIndex) \(Console.scientific(distance.worstRow))"
    case .otherShape(let expected, let found): "shape \(expected) expected, \(found) found"
    case .nonFinite(let row, let column): "not finite alike at row \(row), column \(column)"
    case .missing: "missing in the candidate"
    }
  }

  fileprivate var word: String {
    switch self {
    case .close: "close"
    case .far: "far"
    case .otherShape: "shape"
    case .nonFinite: "non-finite"
    case .missing: "missing"
    }
  }
}

extension Comparison {
  fileprivate var json: JSON {
    let taps = taps.map { tap -> JSON in
      var members: [(String, JSON)] = [
        ("name", .string(tap.name)), ("verdict", .string(tap.verdict.word)), ("passed", .bool(tap.passed)),
      ]
      switch tap.verdict {
      case .close(let distance), .far(let distance):
        members += [
          ("relF", .number(distance.relF)), ("worstRow", .number(distance.worstRow)),
          ("worstRowIndex", .integer(distance.worstRowIndex)), ("maxOverRMS", .number(distance.maxOverRMS)),
        ]
      default: members.append(("reason", .string(tap.verdict.text)))
      }
      members.append(
        (
          "limit",
          [
            "relF": .number(tap.limit.relF), "worstRow": .number(tap.limit.worstRow),
            "maxOverRMS": .number(tap.limit.maxOverRMS),
          ]
        ))
      return .object(members.map { Member(key: $0.0, value: $0.1) })
    }
    return [
      "passed": .bool(passed), "first_divergence": firstDivergence.map { .string($0.name) } ?? .null,
      "taps": .array(taps), "extra": .array(extra.map(JSON.string)),
    ]
  }

  private typealias Member = JSON.Member
}
