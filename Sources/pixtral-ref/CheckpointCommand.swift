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
      abstract: "Check a checkpoint and say what it holds.",
      discussion: """
        Checks params.json or config.json, the files' structure, and that every tensor of the model is there once with \
        its shape and nothing else, and prints parameters, files, dtypes and tensors as JSON. Weights \
        are not read.
        """)

    @Argument(help: "A folder in either layout, or seeded:tiny or seeded:pixtral-large.")
    var path: String

    func run() throws {
      let checkpoint = try Checkpoint(path)
      for warning in checkpoint.warnings { Console.warn(warning) }
      let tensors = checkpoint.tensors
      var valuesByType: [String: Int] = [:]
      for tensor in tensors {
        valuesByType[tensor.dtype.rawValue, default: 0] += tensor.rows * tensor.columns
      }
      let report: JSON = [
        "name": .string(checkpoint.name), "layout": .string(checkpoint.layout?.rawValue ?? "seeded"),
        "parameters": checkpoint.parameters.json,
        "values": .integer(valuesByType.values.reduce(0, +)),
        "values_by_dtype": .object(
          valuesByType.sorted { $0.key < $1.key }
            .map { JSON.Member(key: $0.key, value: .integer($0.value)) }),
        "files": .array(
          checkpoint.files.map {
            [
              "name": .string($0.file.path.split(separator: "/").last.map(String.init) ?? ""),
              "bytes": .integer($0.file.bytes.count), "tensors": .integer($0.tensors.count),
            ]
          }),
        "warnings": .array(checkpoint.warnings.map(JSON.string)),
        "tensors": .array(
          tensors.map {
            [
              "name": .string($0.name), "dtype": .string($0.dtype.rawValue),
              "shape": .array($0.shape.map(JSON.integer)),
            ]
          }),
      ]
      Console.out(report.text(indented: true))
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
