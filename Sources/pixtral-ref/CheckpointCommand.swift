import ArgumentParser
import PixtralReference
import PixtralStorage

struct CheckpointCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "checkpoint",
    abstract: "Look into a checkpoint, or write a seeded one for other runtimes.",
    subcommands: [Inspect.self, Write.self])

  struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Check a checkpoint and say what it holds, and what is doubtful.",
      discussion: """
        Prints parameters, doubts, files, dtypes and tensors as JSON. A doubt is a key that is not as \
        Pixtral Large has it, or that each library fills in in its own way, with what was found, what was \
        expected, and why. Where trace would refuse the checkpoint, "refused" says why, and the exit code \
        is 2. Weights are not read without --values. Docs/Checkpoints.md.
        """)

    @Argument(help: "A folder in either layout, or seeded:tiny or seeded:pixtral-large.")
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

  struct Write: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Write a seeded checkpoint out for other runtimes.",
      discussion: """
        With the tokenizer beside it. mistral: params.json and consolidated.safetensors. hf: config.json \
        and model.safetensors, the rows of wq and wk in Hugging Face's order, and the tokenizer, chat \
        template and settings that AutoTokenizer and AutoProcessor read. Weights are bfloat16. \
        seeded:pixtral-large takes 250 GB. A folder that this command has filled may be given again; one \
        with another checkpoint is refused.
        """)

    @Argument(help: "seeded:tiny or seeded:pixtral-large.")
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
