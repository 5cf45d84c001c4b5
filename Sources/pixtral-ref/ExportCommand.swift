import ArgumentParser
import PixtralConformance
import PixtralProgram
import PixtralReference
import PixtralStorage

struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write the questions of cases into files, for a runtime that cannot hold a session.",
    discussion: """
      Makes a folder a case, OUT/ID, with question.json, which is what a session would ask, and the files that it \
      names. Put the answer beside it: tokens.json, output.safetensors, or answer.json with what a session would \
      answer. Fill in OUT/runtime.json, and let `conformance run --results OUT` judge.
      """)

  @Argument(help: "A folder that is not there yet, or is empty.")
  var out: String

  @OptionGroup var chosen: ChosenCases

  @Option(help: "The layout of checkpoints, mistral or hf.")
  var layout = CheckpointLayout.mistral

  @OptionGroup var tokenizer: TokenizerFile

  func run() throws {
    let cases = try chosen.read()
    let files = try QuestionFiles(out, layout: layout)
    let run = ConformanceRun(
      cases, tokenizer: try tokenizer.read(), faults: FaultAnswers(),
      checkpoints: CheckpointFolders(in: out, tokenizerFile: try tokenizer.path())
    ) { done, id in Console.progress(done: done, of: cases.count, id) }
    let verdicts = try run(files) { _ in files }
    Console.progress("")
    let left = verdicts.count - files.count
    Console.out(
      "\(counted(files.count, "question")) in \(out)"
        + (left > 0 ? "; \(left) left out, which no file can answer" : ""))
  }
}
