import ArgumentParser
import PixtralProgram
import PixtralReference
import PixtralStorage

struct CheckpointCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "checkpoint",
    abstract: "Look into a checkpoint, compare a conversion with it, or write a seeded one out.",
    subcommands: [Inspect.self, Compare.self, Write.self])

  struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Check a checkpoint and say what it holds, and what is doubtful.",
      discussion: """
        Prints parameters, doubts, files, dtypes and tensors as JSON. A doubt is a key that is not as \
        Pixtral Large has it, or that each library fills in in its own way, with what was found, what was \
        expected, and why. Where trace would refuse the checkpoint, "refused" says why, and the exit code \
        is 2. Weights are not read without --values. Docs/Checkpoints.md.
        """)

    @Argument(help: "A folder in either layout, or seeded:tiny, seeded:small or seeded:pixtral-large.")
    var path: String

    @Flag(help: "Read every weight: SHA-256, RMS, largest magnitude, share of zeros, what is not finite.")
    var values = false

    func run() throws {
      var inspection = try Inspection(path)
      for warning in inspection.warnings { Console.warn(warning) }
      if values {
        try inspection.readValues { Console.progress(done: $1, of: $2, $0) }
        Console.progress("")
      }
      Console.out(inspection.json.text(indented: true))
      if let refusal = inspection.refusal { throw refusal }
    }
  }

  struct Compare: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Say whether one checkpoint is a faithful conversion of another.",
      discussion: """
        Across layouts and dtypes: a line for each parameter that differs and each tensor that is not \
        identical. It is then rounded (to a dtype), or permuted, transposed, scaled, swapped with another \
        tensor, overflowed, different, missing or extra, and how. Identical and rounded are faithful; with \
        anything else the exit code is 1. Docs/Checkpoints.md.
        """)

    @Argument(help: "A folder in either layout, or seeded:NAME.")
    var original: String

    @Argument(help: "The same, made from it.")
    var converted: String

    @Flag(help: "One JSON object instead of lines.")
    var json = false

    func run() throws {
      var conversion = try Conversion(original: original, converted: converted)
      try conversion.compareTensors { Console.progress(done: $1, of: $2, $0) }
      Console.progress("")
      if json {
        Console.out(conversion.json.text())
      } else {
        print(conversion)
      }
      if !conversion.isFaithful { throw ExitCode.comparisonFailed }
    }

    private func print(_ conversion: Conversion) {
      for refusal in conversion.refusals { Console.out(onOneLine("\(refusal)")) }
      let differing = conversion.parameters.filter { !$0.agrees }
      for pair in differing {
        let (original, converted) = (pair.original.plainText, pair.converted.plainText)
        Console.out("\(pair.key): ORIGINAL has \(original), CONVERTED has \(converted)")
      }
      for tensor in conversion.tensors where tensor.verdict != .identical {
        let detail = tensor.verdict.detail
        Console.out(
          onOneLine("\(tensor.name): \(tensor.verdict.word)\(detail.isEmpty ? "" : ", ")\(detail)"))
      }
      let identical = conversion.tensors.count { $0.verdict == .identical }
      let agreeing = conversion.parameters.count - differing.count
      Console.out(
        "\(counted(agreeing, "parameter")) of \(conversion.parameters.count) agree, "
          + "\(counted(identical, "tensor")) of \(conversion.tensors.count) are identical")
      Console.out(
        conversion.isFaithful
          ? "CONVERTED is a faithful conversion of ORIGINAL"
          : "CONVERTED is no faithful conversion of ORIGINAL")
    }
  }

  struct Write: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Write a seeded checkpoint out for other runtimes.",
      discussion: """
        With the tokenizer beside it. mistral: params.json and consolidated.safetensors. hf: config.json \
        and model.safetensors, the rows of wq and wk in Hugging Face's order, and the tokenizer, chat \
        template and settings that AutoTokenizer and AutoProcessor read. Weights are bfloat16. \
        seeded:tiny takes 11 MB; seeded:small, in shapes that production kernels take, 59 MB; \
        seeded:pixtral-large 250 GB. A folder that this command has filled may be given again; one with \
        another checkpoint is refused.
        """)

    @Argument(help: "seeded:tiny, seeded:small or seeded:pixtral-large.")
    var name: String

    @Option(help: "mistral or hf.")
    var layout = CheckpointLayout.mistral

    @Option(help: "The folder to write to; it is made if need be.")
    var out: String

    @Option(help: "Begin another file beyond this many MB.")
    var shardMegabytes = 5000

    @OptionGroup var tokenizer: TokenizerFile

    func validate() throws {
      guard name.hasPrefix("seeded:") else { throw ValidationError("Only seeded checkpoints are written.") }
      guard (1...1_000_000).contains(shardMegabytes) else {
        throw ValidationError("--shard-megabytes must be 1 or more.")
      }
    }

    func run() throws {
      let checkpoint = try Checkpoint(name)
      try writeCheckpoint(
        checkpoint, layout: layout, to: out, shardBytes: shardMegabytes * 1_000_000,
        tokenizer: tokenizer.path()
      ) { Console.progress("writing \($0)") }
      Console.progress("")
      let line: JSON = [
        "written": .string(out), "layout": .string(layout.rawValue),
        "tensors": .integer(checkpoint.tensors.count),
      ]
      Console.out(line.text())
    }
  }
}
