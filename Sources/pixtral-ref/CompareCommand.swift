import ArgumentParser
import PixtralProgram
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

      The limit on relF at a tap is twice what right runs of that arithmetic were measured to differ by \
      there; a row may be ten times, an element a hundred times as far. Beyond eight times it is FAR, \
      between the two undecided, which neither passes nor fails. The arithmetic follows the dtype in \
      which a tap is stored, or --arithmetic where the runtime computed in less than it stores. \
      Docs/Trace.md has the measurements.

      q and k of the candidate may be in Mistral's or in Hugging Face's order. A batch of one and a \
      dimension of heads are no other shape. Exits with 1 if a tap diverges or is missing, and with 2 \
      if a file cannot be read.

        pixtral-ref compare reference yours.safetensors
        pixtral-ref compare reference yours --taps 'decoder.*,!*_rotated'

      Both must be of one request. A case has its own tokens and pixels, which `trace` takes too:

        C=Fixtures/cases/model/tiny/two-images
        pixtral-ref trace --tokens $C/case.json --pixels $C/expected.safetensors --out yours
        pixtral-ref compare $C yours
      """)

  @Argument(
    help: "A trace folder, a folder of Fixtures/cases/model, or a safetensors file of taps or digests.")
  var reference: String

  @Argument(help: "What to judge: a trace folder or a safetensors file with taps or digests.")
  var candidate: String

  @Option(
    help: "Which taps to compare, shell patterns separated by commas; one with ! in front leaves taps out.")
  var taps: String?

  @Option(help: "What the candidate computed in: float64, float32, tf32, float16 or bfloat16.")
  var arithmetic: Arithmetic?

  @Option(
    help: "The limit on relF, instead of the one that the arithmetic implies; without --arithmetic.")
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
    // A wrong name is refused though all may be close.
    let weights = try checkpoint.map(Checkpoint.init)
    // Rows are named by their tokens' text where the tokenizer is at hand.
    let isGiven = tokenizer.tokenizer != nil
    let pieces = (isGiven ? try tokenizer.read() : try? tokenizer.read())?.vocabulary.pieces ?? []
    let comparison = try Comparison(
      reference: TraceFile(reference), candidate: TraceFile(candidate),
      .init(globs: patterns(taps), limit: limit.map { DistanceLimit(relF: $0) }, arithmetic: arithmetic),
      piece: { pieces.indices.contains($0) ? pieces[$0].text : nil })
    if let weights { try comparison.check(weights) }
    let anew = try computedAnew(comparison, weights)
    if json {
      Console.out(comparison.json(anew).text())
    } else {
      print(comparison, anew)
    }
    if comparison.failed { throw ExitCode.comparisonFailed }
  }

  /// Each operation computed anew, where something diverges and the weights are known.
  private func computedAnew(_ comparison: Comparison, _ given: Checkpoint?) throws -> Comparison.Anew? {
    guard comparison.firstDivergence != nil, let name = given?.name ?? comparison.seededModel else {
      return nil
    }
    // A trace may name a model that this version does not have.
    guard let weights = given ?? (try? Checkpoint(name)) else {
      return .unknown("\(shownName(name)) is no model that is known here")
    }
    let values = weights.tensors.reduce(0) { $0 + $1.rows * $1.columns }
    guard given != nil || values < 100_000_000 else {
      return .unknown("that takes minutes with weights of this size: --checkpoint \(name) has it done")
    }
    try BLAS.begin()
    defer { Console.progress("") }
    return try comparison.anew(weights) { Console.progress("computing \($0) anew") }
  }

  private func print(_ comparison: Comparison, _ anew: Comparison.Anew?) {
    var rows = [["tap", "relF", "worst row", "max/RMS", "limit", "verdict"]]
    for tap in comparison.taps {
      let limit = Console.scientific(tap.limit.relF)
      switch tap.verdict {
      case .close(let distance), .undecided(let distance), .far(let distance):
        rows.append([
          shownName(tap.name), Console.scientific(distance.relF), Console.scientific(distance.worstRow),
          distance.maxOverRMS.map(Console.scientific) ?? "", limit,
          tap.passed ? "close" : tap.isUndecided ? "undecided" : "FAR",
        ])
      default: rows.append([shownName(tap.name), "", "", "", limit, tap.verdictText])
      }
    }
    Console.out(Console.table(rows).joined(separator: "\n"))
    Console.out("")
    let notes = comparison.notes
    for note in notes { Console.out("note: \(note)") }
    if !notes.isEmpty { Console.out("") }
    Console.out(comparison.verdict(anew))
  }
}

extension Comparison {
  /// What it comes to, in a sentence or two.
  fileprivate func verdict(_ anew: Anew?) -> String {
    let (far, missing) = (taps.count(where: \.diverges), missing)
    var sentences: [String] = []
    if let first = firstDivergence {
      sentences.append(
        "\(far) of \(counted(taps.count, "tap")) \(far == 1 ? "diverges" : "diverge"); the first is "
          + "\(shownName(first.name)): \(first.verdictText)")
    } else if missing.isEmpty && undecided.isEmpty {
      sentences.append(taps.count == 1 ? "the one tap is close" : "all \(taps.count) taps are close")
    } else {
      let had = taps.count - missing.count - undecided.count
      if !undecided.isEmpty {
        sentences.append("\(had) of \(counted(taps.count, "tap")) are close")
      } else {
        sentences.append(
          had == 1
            ? "the one tap that the candidate has is close"
            : "the \(had) taps that the candidate has are close")
      }
    }
    if let first = undecided.first {
      sentences.append(
        "\(undecided.count) of \(counted(taps.count, "tap")) \(undecided.count == 1 ? "is" : "are") undecided, between "
          + "2 and 8 times the noise of right runs; the first is \(shownName(first.name)): \(first.verdictText)"
      )
    }
    if !missing.isEmpty {
      sentences.append(
        "\(missing.count) of \(counted(taps.count, "tap")) \(missing.count == 1 ? "is" : "are") missing: "
          + "\(Self.list(missing.map(\.name))); --taps '!NAME' leaves one out")
    }
    switch anew {
    case .off(let off, let between):
      let how = "computed anew from the candidate's own inputs, "
      if !off.isEmpty {
        sentences.append(
          "\(how)\(off.count) \(off.count == 1 ? "is" : "are") off: \(Self.list(off.map(\.name)))")
      } else if between.isEmpty {
        sentences.append("\(how)no operation is off by itself")
      }
      if let first = between.first {
        let lacking = first.lacking.map(shownName)
        let which = lacking.count > 3 ? "\(lacking[0]) to \(lacking.last!)" : lacking.joined(separator: ", ")
        let rest = between.count > 1 ? ", and \(between.count - 1) more like it" : ""
        sentences.append(
          "off is \(shownName(first.tap.name)) or what comes before it and is missing (\(which))\(rest)")
      }
    case .unknown(let reason): sentences.append("no operation was computed anew: \(reason)")
    case nil: break
    }
    return sentences.joined(separator: "\n")
  }

  fileprivate func json(_ anew: Anew?) -> JSON {
    var notes = notes
    var off: [Tap]?
    var between: [(tap: Tap, lacking: [String])] = []
    switch anew {
    case .off(let taps, let others): (off, between) = (taps, others)
    case .unknown(let reason): notes.append("no operation was computed anew: \(reason)")
    case nil: break
    }
    return [
      "passed": failed || undecided.isEmpty ? .bool(passed) : .null,
      "first_divergence": firstDivergence.map { .string($0.name) } ?? .null,
      "taps": .array(taps.map(\.json)), "undecided": .array(undecided.map { .string($0.name) }),
      "missing": .array(missing.map { .string($0.name) }),
      "extra": .array(extra.map { .string($0.name) }),
      "off_by_themselves": off.map { .array($0.map { .string($0.name) }) } ?? .null,
      "off_or_lacking": .array(
        between.map { ["tap": .string($0.tap.name), "lacking": .array($0.lacking.map(JSON.string))] }),
      "arithmetic": options.arithmetic.map { .string($0.rawValue) } ?? .null,
      "rotary": .object(
        rotaryOrders.map { JSON.Member(key: $0.part, value: $0.order.map { .string($0.rawValue) } ?? .null) }),
      "notes": .array(notes.map(JSON.string)),
    ]
  }
}

extension Comparison.Tap {
  fileprivate var verdictText: String {
    switch verdict {
    case .close(let distance): return "relF \(Console.scientific(distance.relF))"
    case .far(let distance), .undecided(let distance):
      let row = rowName.map { "row \(distance.worstRowIndex) (\($0))" } ?? "row \(distance.worstRowIndex)"
      var text =
        "relF \(Console.scientific(distance.relF)), worst \(row) \(Console.scientific(distance.worstRow))"
      // The limit that is exceeded is that on relF, if nothing else is said.
      if distance.relF <= limit.relF {
        text +=
          distance.worstRow <= limit.worstRow
          ? ", max/RMS \(Console.scientific(distance.maxOverRMS ?? 0)) beyond \(Console.scientific(limit.maxOverRMS))"
          : " beyond \(Console.scientific(limit.worstRow))"
      }
      return text + (isCloseInOtherOrder ? "; it is close in the other order of a head's columns" : "")
    case .otherShape(let expected, let found): return "shape \(expected) expected, \(found) found"
    case .otherDType(let dtype): return "a dtype of F64, F32, F16 or BF16 expected, \(dtype) found"
    case .nonFinite(let row, let column):
      return "not finite alike at row \(row)\(rowName.map { " (\($0))" } ?? ""), column \(column)"
    case .otherNonFinite(let expected, let found):
      return "\(counted(found, "value")) not finite, \(expected) in the reference"
    case .missing: return "missing"
    }
  }

  private var word: String {
    switch verdict {
    case .close: "close"
    case .undecided: "undecided"
    case .far: "far"
    case .otherShape: "shape"
    case .otherDType: "dtype"
    case .nonFinite, .otherNonFinite: "non-finite"
    case .missing: "missing"
    }
  }

  fileprivate var json: JSON {
    var members: [(String, JSON)] = [
      ("name", .string(name)), ("verdict", .string(word)), ("passed", .bool(passed)),
    ]
    switch verdict {
    case .close(let distance), .undecided(let distance), .far(let distance):
      members += [
        ("relF", .number(distance.relF)), ("worstRow", .number(distance.worstRow)),
        ("worstRowIndex", .integer(distance.worstRowIndex)),
        ("maxOverRMS", distance.maxOverRMS.map(JSON.number) ?? .null),
        ("estimate", .bool(distance.isEstimate)),
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
          "maxOverRMS": .number(limit.maxOverRMS), "far": .number(limit.relF * limit.farMultiple),
        ]
      ))
    return .object(members.map { JSON.Member(key: $0.0, value: $0.1) })
  }
}
