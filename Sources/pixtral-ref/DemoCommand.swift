import ArgumentParser
import PixtralConformance
import PixtralProgram
import PixtralStorage

struct DemoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Judge the stored answers of a runtime with a real mistake, and name the mistake.",
    discussion: """
      A second's work, without a network or a checkpoint. The answers lie in Fixtures/demo, as those of a runtime of \
      yours would for `conformance run --results`.
      """)

  @OptionGroup var suite: ChosenFixtures

  func run() throws {
    let cases = try suite.folder()
    let answers = "\(folder(of: cases))/demo"
    let scratch = try ScratchFolder("pixtral-ref-demo")
    let files = try AnswerFiles(answers, scratch: scratch.path)
    let asked = try ["image", "two-images"].map {
      try CaseFiles.single("\(cases)/model/tiny/\($0)/case.json")
    }
    let run = ConformanceRun(
      asked, tokenizer: try TokenizerFile.parse([]).read(), faults: try suite.faults(),
      checkpoints: CheckpointFolders(in: scratch.path, tokenizerFile: ""))
    let report = Report(files.description, try run(files) { _ in files }, known: [:])
    Console.out(
      """
      A port of Pixtral was asked for its activations, once with one image in the prompt and once with two. It \
      answers fluently. Is it right?

      """)
    for (question, verdict) in zip(asked, report.verdicts) {
      Console.out("\(verdict.verdict == .passed ? "passed" : "FAILED")  \(question.id)  \(question.title)")
    }
    guard let first = report.firstDivergence, let tap = first.tap, let distance = first.distance,
      let limit = first.limit
    else {
      throw InputError(
        .wrongTrace, answers, expected: "answers with a mistake", found: "right ones",
        advice: "the fixtures were changed; take them anew")
    }
    Console.out(
      """

      wrong first:  \(tap)
                    \(Console.scientific(distance)) away, right runs stay below \(Console.scientific(limit))
      looks like:   \(first.looksLike.joined(separator: " or ")) (Docs/Faults.md has who made it, what hides it, the remedy)

      Now yours. A runtime is any program that answers JSON lines (Docs/Tutorial.md has one to copy). Here pixtral-ref \
      is the runtime:

        pixtral-ref conformance run --runtime 'pixtral-ref conformance session'
      """)
  }
}
