import Glibc
import PixtralProgram
import PixtralReference
import PixtralStorage
import PixtralText

/// What is said of a trace: `trace.json`, tables for people, a line for programs.
struct TraceReport {
  let checkpoint: Checkpoint
  let tokenizer: Tokenizer?
  let precision: Precision

  /// What `trace.json` says beside the taps, for each of the prompts of a run.
  func descriptions(
    _ traces: [(folder: TraceFolder, finding: FiniteCheck.Finding?)]
  ) -> [[JSON.Member]] {
    func seesImages(_ folder: TraceFolder) -> Bool { folder.prompt?.images.isEmpty == false }
    // The weights are read for all prompts together, as by the run.
    let digests = checkpoint.digests(seeingImages: Set(traces.map { seesImages($0.folder) })) {
      Console.progress("SHA-256 of \($0)")
    }
    return traces.map { description($0.folder, $0.finding, digest: digests[seesImages($0.folder)]!) }
  }

  private func description(
    _ folder: TraceFolder, _ finding: FiniteCheck.Finding?, digest: String
  ) -> [JSON.Member] {
    let images = folder.prompt?.images ?? []
    var json: [(String, JSON)] = [
      ("format", .string(TraceFolder.format)),
      ("version", .string(Program.version)),
      ("model", .string(checkpoint.name)),
      ("checkpoint_sha256", .string(digest)),
      ("precision", .string(precision.rawValue)),
      (
        "blas",
        ["library": .string(BLAS.version), "core": .string(BLAS.core), "threads": .integer(BLAS.threads)]
      ),
      ("parameters", checkpoint.parameters.json),
      ("tokens", .array((folder.prompt?.tokens ?? []).map(JSON.integer))),
      ("images", .array(images.map(\.json))),
    ]
    if let finding {
      json.append(
        (
          "not_finite",
          [
            "tap": .string(finding.tap), "row": .integer(finding.row), "column": .integer(finding.column),
            "weight": finding.weight.map { .string($0.name) } ?? .null,
          ]
        ))
    } else if let logits = folder.lastLogits {
      json.append(("next_tokens", .array(nextTokens(logits))))
    }
    return json.map { JSON.Member(key: $0.0, value: $0.1) }
  }

  /// Of a prompt alone: its taps, and what comes next.
  func show(_ folder: TraceFolder, _ summary: JSON) {
    var rows = [["tap", "shape", "RMS", "first values"]]
    for (tap, statistics) in folder.statistics {
      let first = statistics.first.map { Console.padded(Console.short($0), 8) }.joined(separator: " ")
      rows.append([tap.name, "\(tap.rows)×\(tap.columns)", Console.short(statistics.rms), first])
    }
    Console.message(Console.table(elided(rows)).joined(separator: "\n"))
    if let next = next(summary) {
      Console.message("\nmost likely next tokens")
      Console.message(Console.table([["piece", "id", "probability"]] + next).joined(separator: "\n"))
    }
    let count = folder.statistics.count
    Console.message(
      "\n\(folder.file) holds \(counted(count, "tap")); \(folder.path)/trace.json says of what.")
  }

  /// Of several prompts: a row each.
  func show(_ traces: [(id: String, folder: TraceFolder, summary: JSON)]) {
    let rows = traces.map { trace in
      let prompt = trace.folder.prompt
      return [
        trace.id, "\(prompt?.tokens.count ?? 0)", "\(prompt?.images.count ?? 0)",
        "\(trace.folder.statistics.count)",
      ] + (next(trace.summary)?.first ?? [])
    }
    let title =
      ["id", "tokens", "images", "taps"]
      + (rows.contains { $0.count > 4 } ? ["next", "id", "probability"] : [])
    Console.message(Console.table([title] + rows).joined(separator: "\n"))
  }

  /// For programs: of one of several with its id.
  func line(_ id: String?, _ folder: TraceFolder, _ summary: JSON) -> String {
    let members: [(String, JSON)] = [
      ("trace", .string(folder.file)), ("taps", .integer(folder.statistics.count)),
      ("next_tokens", summary["next_tokens"] ?? .array([])), ("not_finite", summary["not_finite"] ?? .null),
    ]
    let ids = id.map { [("id", JSON.string($0))] } ?? []
    return JSON.object((ids + members).map { JSON.Member(key: $0.0, value: $0.1) }).text()
  }

  /// Rows of the most likely next tokens; nil where there are no logits.
  private func next(_ summary: JSON) -> [[String]]? {
    guard case .array(let next)? = summary["next_tokens"] else { return nil }
    return next.map { token in
      [
        token["piece"] == .null ? "" : token["piece"]?.plainText ?? "", token["id"]?.plainText ?? "",
        Console.short(token["probability"]?.double ?? 0),
      ]
    }
  }

  /// The five largest logits and their probabilities.
  private func nextTokens(_ logits: [Double]) -> [JSON] {
    // Pieces are named only where the vocabulary is the tokenizer's.
    let pieces = tokenizer?.vocabulary.pieces.count == logits.count ? tokenizer?.vocabulary.pieces : nil
    let prediction = Prediction(logits)
    return prediction.best(5).map { id in
      return [
        "id": .integer(id), "piece": (pieces?[id].text).map(JSON.string) ?? .null,
        "logit": .number(logits[id]), "probability": .number(prediction.probability(of: id)),
      ]
    }
  }

  /// Long tables keep the first and the last layer of each part.
  private func elided(_ rows: [[String]]) -> [[String]] {
    guard rows.count > 100 else { return rows }
    func layer(_ name: String) -> (part: Substring, number: Int)? {
      let parts = name.split(separator: ".")
      guard parts.count > 2, parts[1] == "layers", let number = Int(parts[2]) else { return nil }
      return (parts[0], number)
    }
    let last = Dictionary(
      rows.compactMap { layer($0[0]) }.map { ($0.part, $0.number) }, uniquingKeysWith: max)
    var kept: [[String]] = []
    for row in rows {
      guard let (part, number) = layer(row[0]), number != 0, number != last[part] else {
        kept.append(row)
        continue
      }
      let note = "… layers 1 to \(last[part]! - 1) of \(part) are in trace.json"
      if kept.last?[0] != note { kept.append([note]) }
    }
    return kept
  }
}

extension ImageShape {
  /// `width` and `height` in pixels as sent, where known; `columns` and `rows` in patches.
  var json: JSON {
    [
      "width": sent.map { .integer($0.width) } ?? .null, "height": sent.map { .integer($0.height) } ?? .null,
      "columns": .integer(grid.columns), "rows": .integer(grid.rows),
    ]
  }
}
