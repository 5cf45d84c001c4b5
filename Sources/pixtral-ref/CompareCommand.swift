import ArgumentParser
import PixtralReference
import PixtralStorage

extension Arithmetic: ExpressibleByArgument {}

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Compare two traces tap by tap, in the order of computation.",
    discussion: """
      Judges by norm: relF is ‖candidate − reference‖ / ‖reference‖, worst row the same of the worst \
      row, max/RMS the largest difference over the reference's root mean square. Shape and positions \
      that are not finite come first; NaN always fails.

      The limit on relF is 1e-10 for float64, 3e-5 for float32, 1e-2 for float16 and tf32, 5e-2 for \
      bfloat16; a row may be ten times, an element a hundred times as far. It follows the dtype in \
      which a tap is stored, or --arithmetic where the runtime computed in less than it stores. A case \
      has limits of its own.

      q and k of the candidate may be in Mistral's or in Hugging Face's order. A batch of one and a \
      dimension of heads are no other shape. Exits with 1 if a tap diverges or is missing, and with 2 \
      if a file cannot be read.

        pixtral-ref compare reference yours.safetensors
        pixtral-ref compare Fixtures/cases/model/tiny/two-images yours.safetensors
        pixtral-ref compare reference yours --taps 'decoder.*,!*_rotated'
      """)

  @Argument(help: "A trace folder, a folder of Fixtures/cases/model, or a safetensors file with taps.")
  var reference: String

  @Argument(help: "What to judge: a trace folder or a safetensors file with taps.")
  var candidate: String

  @Option(
    help: "Which taps to compare, shell patterns separated by commas; one with ! in front leaves taps out.")
  var taps: String?

  @Option(help: "What the candidate computed in: float64, float32, tf32, float16 or bfloat16.")
  var arithmetic: Arithmetic?

  @Option(help: "The limit on relF, instead of the one that the arithmetic implies.")
  var limit: Double?

  @Option(
    help: """
      The candidate's weights: if a tap diverges, each operation is computed anew from the candidate's own \
      inputs, to tell which are off by themselves. Of a seeded model of less than 10⁸ weights this goes \
      without saying.
      """)
  var checkpoint: String?

  @Flag(help: "Print JSON instead of a table.")
  var json = false

  @OptionGroup var tokenizer: TokenizerFile

  func validate() throws {
    guard taps.map({ !patterns($0).isEmpty }) ?? true else { throw ValidationError("--taps names no tap.") }
    if let limit, !(limit >= 0 && limit.isFinite) {
      throw ValidationError("--limit must be a number from 0.")
    }
    if limit != nil && arithmetic != nil {
      throw ValidationError("--limit and --arithmetic both set the limit; give one of them.")
    }
  }

  func run() throws {
    // Rows are named by their tokens' text where the tokenizer is at hand.
    let isGiven = tokenizer.tokenizer != nil
    let pieces = (isGiven ? try tokenizer.read() : try? tokenizer.read())?.vocabulary.pieces ?? []
    let comparison = try Comparison(
      reference: TraceFile(reference), candidate: TraceFile(candidate),
      .init(globs: patterns(taps), limit: limit.map(DistanceLimit.init(relF:)), arithmetic: arithmetic),
      piece: { pieces.indices.contains($0) ? pieces[$0].text : nil })
    let off = try offByThemselves(comparison)
    if json {
      Console.out(comparison.json(off).text())
    } else {
      print(comparison, off)
    }
    if !comparison.passed { throw ExitCode.comparisonFailed }
  }

  /// The taps that are off by themselves, where something diverges and the weights are known.
  private func offByThemselves(_ comparison: Comparison) throws -> [Comparison.Tap]? {
    guard comparison.firstDivergence != nil, let name = checkpoint ?? comparison.seededModel else {
      return nil
    }
    let weights = try Checkpoint(name)
    let values = weights.tensors.reduce(0) { $0 + $1.rows * $1.columns }
    guard checkpoint != nil || values < 100_000_000 else { return nil }
    BLAS.begin()
    return try comparison.offByThemselves(weights)
  }

  private func print(_ comparison: Comparison, _ off: [Comparison.Tap]?) {
    var rows = [["tap", "relF", "worst row", "max/RMS", "limit", "verdict"]]
    for tap in comparison.taps {
      let limit = Console.scientific(tap.limit.relF)
      switch tap.verdict {
      case .close(let distance), .far(let distance):
        rows.append([
          tap.name, Console.scientific(distance.relF), Console.scientific(distance.worstRow),
          Console.scientific(distance.maxOverRMS), limit, tap.passed ? "close" : "FAR",
        ])
      default: rows.append([tap.name, "", "", "", limit, tap.verdictText])
      }
    }
    Console.out(Console.table(rows).joined(separator: "\n"))
    Console.out("")
    let notes = comparison.notes
    for note in notes { Console.out("note: \(note)") }
    if !notes.isEmpty { Console.out("") }
    Console.out(comparison.verdict(off))
  }
}

extension Comparison {
  /// What it comes to, in a sentence or two.
  fileprivate func verdict(_ off: [Tap]?) -> String {
    let (far, missing) = (taps.filter { !$0.passed && !$0.isMissing }.count, missing)
    var sentences: [String] = []
    if let first = firstDivergence {
      sentences.append(
        "\(far) of \(taps.count) taps diverge; the first is \(first.name): \(first.verdictText)")
    } else if missing.isEmpty {
      sentences.append("all \(taps.count) taps are close")
    } else {
      sentences.append("the \(taps.count - missing.count) taps that the candidate has are close")
    }
    if !missing.isEmpty {
      let names = Self.list(missing.map(\.name))
      sentences.append(
        "\(missing.count) of \(taps.count) taps are missing: \(names); --taps '!NAME' leaves one out")
    }
    if let off {
      let names = Self.list(off.map(\.name))
      sentences.append(
        off.isEmpty
          ? "computed anew from the candidate's own inputs, no operation is off by itself"
          : "computed anew from the candidate's own inputs, \(off.count) \(off.count == 1 ? "is" : "are") off: "
            + names)
    }
    return sentences.joined(separator: "\n")
  }

  fileprivate func json(_ off: [Tap]?) -> JSON {
    [
      "passed": .bool(passed), "first_divergence": firstDivergence.map { .string($0.name) } ?? .null,
      "taps": .array(taps.map(\.json)), "missing": .array(missing.map { .string($0.name) }),
      "extra": .array(extra.map { .string($0.name) }),
      "off_by_themselves": off.map { .array($0.map { .string($0.name) }) } ?? .null,
      "arithmetic": options.arithmetic.map { .string($0.rawValue) } ?? .null,
      "rotary": .object(
        rotaryOrders.map { JSON.Member(key: $0.part, value: .string($0.order.rawValue)) }),
      "notes": .array(notes.map(JSON.string)),
    ]
  }
}

extension Comparison.Tap {
  fileprivate var verdictText: String {
    switch verdict {
    case .close(let distance): return "relF \(Console.scientific(distance.relF))"
    case .far(let distance):
      let row = rowName.map { "row \(distance.worstRowIndex) (\($0))" } ?? "row \(distance.worstRowIndex)"
      return
        "relF \(Console.scientific(distance.relF)), worst \(row) \(Console.scientific(distance.worstRow))"
        + (isCloseInOtherOrder ? "; it is close in the other order of a head's columns" : "")
    case .otherShape(let expected, let found): return "shape \(expected) expected, \(found) found"
    case .otherDType(let dtype): return "a dtype of F64, F32, F16 or BF16 expected, \(dtype) found"
    case .nonFinite(let row, let column):
      return "not finite alike at row \(row)\(rowName.map { " (\($0))" } ?? ""), column \(column)"
    case .missing: return "missing"
    }
  }

  private var word: String {
    switch verdict {
    case .close: "close"
    case .far: "far"
    case .otherShape: "shape"
    case .otherDType: "dtype"
    case .nonFinite: "non-finite"
    case .missing: "missing"
    }
  }

  fileprivate var json: JSON {
    var members: [(String, JSON)] = [
      ("name", .string(name)), ("verdict", .string(word)), ("passed", .bool(passed)),
    ]
    switch verdict {
    case .close(let distance), .far(let distance):
      members += [
        ("relF", .number(distance.relF)), ("worstRow", .number(distance.worstRow)),
        ("worstRowIndex", .integer(distance.worstRowIndex)), ("maxOverRMS", .number(distance.maxOverRMS)),
      ]
    default: break
    }
    if !passed { members.append(("reason", .string(verdictText))) }
    if let rowName { members.append(("row", .string(rowName))) }
    members.append(
      (
        "limit",
        [
          "relF": .number(limit.relF), "worstRow": .number(limit.worstRow),
          "maxOverRMS": .number(limit.maxOverRMS),
        ]
      ))
    return .object(members.map { JSON.Member(key: $0.0, value: $0.1) })
  }
}
