import ArgumentParser
import CMalloc
import Glibc
import PixtralReference
import PixtralStorage
import PixtralText

enum LogitRows: String, CaseIterable, ExpressibleByArgument {
  case all, last
}

struct TraceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trace",
    abstract: "Run the model and keep every intermediate activation.",
    discussion: """
      Writes OUT/trace.safetensors, a matrix for each tap, OUT/pixels.safetensors, what the vision \
      encoder was given, and OUT/trace.json, which says what was computed. Ends with a table of the taps \
      and the five most likely next tokens. Docs/Model.md, section 8, lists the taps in order.

      A request:
        pixtral-ref trace --request photo.json --out trace-out
      Your own inputs:
        pixtral-ref trace --tokens t.json --pixels p.safetensors --out trace-out
      The inputs of another trace again:
        pixtral-ref trace --tokens a/trace.json --pixels a/pixels.safetensors --out b
      The vision encoder only:
        pixtral-ref trace --request photo.json --until adapter.w_out --out v
      Queries only, in double:
        pixtral-ref trace --request photo.json --taps '*.attention.q' \\
          --precision float64 --out q
      """)

  @Option(
    help: """
      seeded:tiny, seeded:pixtral-large, or a folder in Mistral's layout (params.json and \
      consolidated.safetensors) or Hugging Face's (config.json and model.safetensors), sharded or not.
      """)
  var checkpoint = "seeded:tiny"

  @Option(help: "A chat request as JSON; image paths in it are relative to the file.")
  var request: String?

  @Option(help: "Instead of a request: a JSON file with token ids, [1, 3, …] or {\"tokens\": […]}.")
  var tokens: String?

  @Option(help: "With --tokens: a safetensors file with image0, image1, …, normalised [3, height, width].")
  var pixels: String?

  @Option(help: "The arithmetic, float32 or float64.")
  var precision = Precision.float32

  @Option(
    help: """
      Which taps to keep, shell patterns separated by commas; * matches dots too. Without it all, except \
      attention.scores, attention.weights, image.N.rgb and image.N.resized, which a pattern must name.
      """)
  var taps: String?

  @Option(help: "The last tap to compute.")
  var until: String?

  @Option(help: "Logits for all positions or for the last.")
  var logits = LogitRows.all

  @Option(help: "The folder to write to; it is made if need be.")
  var out: String

  @Flag(
    help: """
      Keep a digest of each tap, a few kilobytes, instead of its matrix: digest.safetensors, which compare \
      takes as well.
      """)
  var digest = false

  @OptionGroup var limit: PixelLimit

  @OptionGroup var tokenizer: TokenizerFile

  func validate() throws {
    guard (request == nil) != (tokens == nil) else {
      throw ValidationError("Give either --request or --tokens.")
    }
    guard taps.map({ !patterns($0).isEmpty }) ?? true else { throw ValidationError("--taps names no tap.") }
    guard pixels == nil || tokens != nil else { throw ValidationError("--pixels goes with --tokens.") }
  }

  func run() throws {
    try BLAS.begin()
    // Matrices come and go: let the allocator keep their memory rather than fetch and clear new pages
    // for each.
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, 1 << 30)

    let checkpoint = try Checkpoint(checkpoint)
    for warning in checkpoint.warnings { Console.warn(warning) }
    // Of tokens from elsewhere only the pieces are named with it: none needs to be there.
    let isNeeded = request != nil || tokenizer.tokenizer != nil
    let tokenizerPath = try? tokenizer.path()
    let tokenizer = isNeeded ? try tokenizer.read() : try? tokenizer.read()
    let inputs = checkpoint.paths + [request, tokens, pixels, tokenizerPath].compactMap(\.self)
    let folder = TraceFolder(
      out, globs: patterns(taps), until: until, dtype: precision.dtype,
      form: digest ? .digests : .matrices, sparing: inputs
    ) { Console.progress("computing \($0)") }
    let check = FiniteCheck(folder, checkpoint)
    let summary: JSON
    do {
      switch precision {
      case .float32: try compute(Pixtral<Float>(checkpoint), tokenizer, folder, Trace(check))
      case .float64: try compute(Pixtral<Double>(checkpoint), tokenizer, folder, Trace(check))
      }
      try checkpoint.checkWhole()
      summary = try folder.finish(summary: describe(checkpoint, folder, tokenizer, check.finding))
    } catch {
      Console.progress("")
      throw error
    }
    Console.progress("")
    report(folder, summary)
    if let finding = check.finding {
      Console.message(finding.sentence)
      throw ExitCode.comparisonFailed
    }
  }

  /// Runs the model for its taps alone; the folder may end it early.
  private func compute<Scalar>(
    _ model: Pixtral<Scalar>, _ tokenizer: Tokenizer?, _ folder: TraceFolder, _ trace: Trace
  ) throws {
    let rows = logits == .all ? nil : 1
    do {
      if let request, let tokenizer {
        let loader = ImageLoader(maxPixels: limit.maxPixels)
        let chat = try ChatRequest(file: request, images: loader)
        folder.inputs += chat.imageFiles
        _ = try model(chat, tokenizer: tokenizer, images: loader, logitRows: rows, trace: trace)
      } else if let tokens {
        let prompt = try Prompt(tokensFile: tokens, pixelsFile: pixels)
        try prompt.check(against: model.checkpoint.parameters)
        for warning in prompt.warnings(for: model.checkpoint.parameters) { Console.warn(warning) }
        _ = try model(prompt, logitRows: rows, trace: trace)
      }
    } catch is TraceEnd {}
    Console.progress("")
    for (n, image) in (folder.prompt?.images ?? []).enumerated() {
      Console.warn(of: image.sent?.orientation, "image \(n)")
    }
  }

  /// What `trace.json` says beside the taps.
  private func describe(
    _ checkpoint: Checkpoint, _ folder: TraceFolder, _ tokenizer: Tokenizer?, _ finding: FiniteCheck.Finding?
  ) -> [JSON.Member] {
    var json: [(String, JSON)] = [
      ("format", .string(TraceFolder.format)),
      ("version", .string(PixtralRef.version)),
      ("model", .string(checkpoint.name)),
      ("checkpoint_sha256", .string(checkpoint.digest { Console.progress("SHA-256 of \($0)") })),
      ("precision", .string(precision.rawValue)),
      (
        "blas",
        ["library": .string(BLAS.version), "core": .string(BLAS.core), "threads": .integer(BLAS.threads)]
      ),
      ("parameters", checkpoint.parameters.json),
      ("tokens", .array((folder.prompt?.tokens ?? []).map(JSON.integer))),
      ("images", .array((folder.prompt?.images ?? []).map(\.json))),
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
      json.append(("next_tokens", .array(nextTokens(logits, tokenizer))))
    }
    return json.map { JSON.Member(key: $0.0, value: $0.1) }
  }

  private func report(_ folder: TraceFolder, _ summary: JSON) {
    var rows = [["tap", "shape", "RMS", "first values"]]
    for (tap, statistics) in folder.statistics {
      let first = statistics.first.map { Console.padded(Console.short($0), 8) }.joined(separator: " ")
      rows.append([tap.name, "\(tap.rows)×\(tap.columns)", Console.short(statistics.rms), first])
    }
    Console.message(Console.table(elided(rows)).joined(separator: "\n"))
    if case .array(let next)? = summary["next_tokens"] {
      Console.message("\nmost likely next tokens")
      let cells = next.map { token in
        [
          token["piece"] == .null ? "" : token["piece"]?.plainText ?? "", token["id"]?.plainText ?? "",
          Console.short(token["probability"]?.double ?? 0),
        ]
      }
      Console.message(Console.table([["piece", "id", "probability"]] + cells).joined(separator: "\n"))
    }
    let count = folder.statistics.count
    Console.message(
      "\n\(folder.file) holds \(counted(count, "tap")); \(folder.path)/trace.json says of what."
    )
    let line: JSON = [
      "trace": .string(folder.file), "taps": .integer(folder.statistics.count),
      "next_tokens": summary["next_tokens"] ?? .array([]), "not_finite": summary["not_finite"] ?? .null,
    ]
    Console.out(line.text())
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

/// The five largest logits and their probabilities.
private func nextTokens(_ logits: [Double], _ tokenizer: Tokenizer?) -> [JSON] {
  // Pieces are named only where the vocabulary is the tokenizer's.
  let pieces = tokenizer?.vocabulary.pieces.count == logits.count ? tokenizer?.vocabulary.pieces : nil
  let largest = logits.max() ?? 0
  let sum = logits.reduce(0) { $0 + exp($1 - largest) }
  let order = logits.indices.sorted { (logits[$0], $1) > (logits[$1], $0) }
  return order.prefix(5).map { id in
    return [
      "id": .integer(id), "piece": (pieces?[id].text).map(JSON.string) ?? .null, "logit": .number(logits[id]),
      "probability": .number(exp(logits[id] - largest) / sum),
    ]
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
