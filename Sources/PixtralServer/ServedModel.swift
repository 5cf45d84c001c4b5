import PixtralReference
import PixtralStorage
import PixtralText

/// The model behind the server. What it computes takes its time: it is called by lanes only.
struct ServedModel: Sendable {
  let checkpoint: Checkpoint
  let tokenizer: Tokenizer
  let precision: Precision

  /// A request to its prompt.
  ///
  /// - loader: has the remote images that are known, and says which files may be read.
  /// - Throws: `InputError`, with mistral-common's exception where it has one.
  func prompt(of chat: ChatRequest, _ loader: ImageLoader) throws -> Prompt {
    // The arithmetic does not show in a prompt.
    try Pixtral<Float>(checkpoint).prompt(of: chat, tokenizer: tokenizer, images: loader)
  }

  /// A prompt to its answer.
  ///
  /// - Parameters:
  ///   - job: once nobody waits for the answer, it ends at the next tap.
  ///   - began: called when it is certain that the prompt can be computed.
  ///   - each: as for `Pixtral.answer`.
  func answer(
    _ prompt: Prompt, _ options: AnswerOptions, _ job: Lane.Job, began: @escaping () -> Void,
    each: (Answer.Token?, String) -> Void
  ) throws -> Answer {
    let trace = Trace(
      Attendance(job, RunMemory(dtype: precision.dtype, advice: "a shorter request"), options, began))
    switch precision {
    case .float32:
      return try Pixtral<Float>(checkpoint).answer(
        prompt, tokenizer: tokenizer, options: options, trace: trace, each: each)
    case .float64:
      return try Pixtral<Double>(checkpoint).answer(
        prompt, tokenizer: tokenizer, options: options, trace: trace, each: each)
    }
  }
}

/// Makes sure before a run that it fits in memory, and at every tap that somebody waits for its answer.
private final class Attendance: TraceRecorder {
  private let job: Lane.Job
  private let memory: RunMemory
  private let options: AnswerOptions
  private let began: () -> Void

  init(_ job: Lane.Job, _ memory: RunMemory, _ options: AnswerOptions, _ began: @escaping () -> Void) {
    (self.job, self.memory, self.options, self.began) = (job, memory, options, began)
  }

  func begin(_ prompt: PromptShape, taps: [PlannedTap]) throws {
    try memory.add(taps.filter { !$0.onDemand }, for: prompt, answer: options.maxTokens)
    began()
  }

  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) throws { try job.check() }
}
