import ArgumentParser
import Glibc
import PixtralProgram
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
      Many requests in one pass of the weights, each in a folder of its own, OUT/ID:
        pixtral-ref trace --requests requests.jsonl --out many
      A line of that file is {"id", "request": {…}} or {"id", "tokens": […], "pixels": "FILE"}; request and \
      tokens may name a file as well. Each trace is the one that the request gets alone, but for rounding.
      """)

  @Option(
    help: """
      seeded:tiny, seeded:small, seeded:pixtral-large, or a folder in Mistral's layout (params.json \
      and consolidated.safetensors) or Hugging Face's (config.json and model.safetensors), sharded or not.
      """)
  var checkpoint = "seeded:tiny"

  @Option(
    help: """
      A chat request as JSON; image paths in it are relative to the file. Given several times, the \
      requests are run together, and OUT has a folder for each, named as its file is.
      """)
  var request: [String] = []

  @Option(help: "Many requests, JSON with an id a line, run together; OUT/ID has the trace of each.")
  var requests: String?

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
    guard [!request.isEmpty, requests != nil, tokens != nil].count(where: { $0 }) == 1 else {
      throw ValidationError("Give one of --request, --requests and --tokens.")
    }
    guard taps.map({ !patterns($0).isEmpty }) ?? true else { throw ValidationError("--taps names no tap.") }
    guard pixels == nil || tokens != nil else { throw ValidationError("--pixels goes with --tokens.") }
  }

  func run() throws {
    try BLAS.begin()
    keepFreedMemory()
    allowManyFiles()

    let checkpoint = try Checkpoint(checkpoint)
    for warning in checkpoint.warnings { Console.warn(warning) }
    // Of tokens from elsewhere only the pieces are named with it: none needs to be there.
    let isNeeded = tokens == nil || tokenizer.tokenizer != nil
    let tokenizerPath = try? tokenizer.path()
    let tokenizer = isNeeded ? try tokenizer.read() : try? tokenizer.read()
    let prompts = try readPrompts(
      TraceInputs(
        checkpoint: checkpoint, tokenizer: tokenizer, loader: ImageLoader(maxPixels: limit.maxPixels)))

    let inputs =
      checkpoint.paths + [requests, tokenizerPath].compactMap(\.self) + prompts.flatMap(\.files)
    let memory = RunMemory(dtype: precision.dtype)
    let traces = prompts.enumerated().map { n, traced in
      let folder = TraceFolder(
        folder(ofPrompt: traced.id), label: traced.label, globs: patterns(taps), until: until,
        dtype: precision.dtype, form: digest ? .digests : .matrices, sparing: inputs, memory: memory
      ) { if n == 0 { Console.progress("computing \($0)") } }
      return OneTrace(id: traced.id, folder: folder, check: FiniteCheck(folder, checkpoint))
    }
    let report = TraceReport(checkpoint: checkpoint, tokenizer: tokenizer, precision: precision)
    let summaries: [JSON]
    do {
      let trace = Trace(traces.map(\.check))
      switch precision {
      case .float32: try compute(Pixtral<Float>(checkpoint), prompts, trace)
      case .float64: try compute(Pixtral<Double>(checkpoint), prompts, trace)
      }
      try checkpoint.checkWhole()
      let descriptions = report.descriptions(traces.map { ($0.folder, $0.check.finding) })
      summaries = try zip(traces, descriptions).map { try $0.folder.finish(summary: $1) }
    } catch {
      Console.progress("")
      throw error
    }
    Console.progress("")
    try show(traces, summaries, report)
  }

  /// Where a trace goes. OUT without a name stays so, and is refused; with an id behind it, it would be the
  /// root.
  private func folder(ofPrompt id: String?) -> String {
    guard let id, !out.isEmpty else { return out }
    return "\(out)/\(id)"
  }

  private func readPrompts(_ inputs: TraceInputs) throws -> [TracedPrompt] {
    let prompts =
      if let requests { try inputs.lines(of: requests) } else if let tokens {
        [try inputs.tokens(tokens, pixels: pixels)]
      } else { try inputs.requests(request) }
    for traced in prompts where traced.isGiven {
      for warning in traced.prompt.warnings(for: inputs.checkpoint.parameters) {
        Console.warn(traced.label.map { "\($0), \(warning)" } ?? warning)
      }
    }
    return prompts
  }

  /// Runs the model for its taps alone; the folders may end it early.
  private func compute<Scalar>(_ model: Pixtral<Scalar>, _ prompts: [TracedPrompt], _ trace: Trace) throws {
    do {
      _ = try model(prompts.map(\.prompt), logitRows: logits == .all ? nil : 1, trace: trace)
    } catch is TraceEnd {}
  }

  private func show(_ traces: [OneTrace], _ summaries: [JSON], _ report: TraceReport) throws {
    for trace in traces {
      for (n, image) in (trace.folder.prompt?.images ?? []).enumerated() {
        Console.warn(of: image.sent?.orientation, (trace.id.map { "request \($0), " } ?? "") + "image \(n)")
      }
    }
    if traces[0].id == nil {
      report.show(traces[0].folder, summaries[0])
    } else {
      report.show(zip(traces, summaries).map { (id: $0.id ?? "", folder: $0.folder, summary: $1) })
    }
    for (trace, summary) in zip(traces, summaries) {
      Console.out(report.line(trace.id, trace.folder, summary))
    }
    let findings = traces.compactMap { trace in
      trace.check.finding.map { (trace.id.map { "request \($0): " } ?? "") + $0.sentence }
    }
    for finding in findings { Console.message(finding) }
    if !findings.isEmpty { throw ExitCode.comparisonFailed }
  }
}

/// One of the prompts of a run.
private struct OneTrace {
  let id: String?
  let folder: TraceFolder
  let check: FiniteCheck
}

/// Each trace has some files open until it ends; a shell allows a process 1,024 as a rule, and more on
/// request.
private func allowManyFiles() {
  var limit = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  limit.rlim_cur = limit.rlim_max
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}
