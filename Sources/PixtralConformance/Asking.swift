import PixtralReference
import PixtralStorage
import PixtralText
import Synchronization

/// Asks a runtime the questions of cases, one after another, and judges its answers.
package struct Asking {
  let runtime: any Answering
  /// Names tokens in what is said of them.
  let tokenizer: Tokenizer
  let faults: FaultAnswers
  /// The folder of each checkpoint that cases are about, written when the first of them is asked.
  let checkpoints: CheckpointFolders
  /// For what shows failures; nil where nobody will look at it.
  let evidence: EvidenceRoom?

  /// - checkpoints: where checkpoints are written that a runtime is to load.
  package init(
    _ runtime: any Answering, tokenizer: Tokenizer, faults: FaultAnswers, checkpoints: CheckpointFolders,
    evidence: EvidenceRoom? = nil
  ) {
    (self.runtime, self.tokenizer, self.faults) = (runtime, tokenizer, faults)
    (self.checkpoints, self.evidence) = (checkpoints, evidence)
  }

  /// - Throws: `InputError` for a case whose files are not what it says, or a folder that cannot be written.
  package func callAsFunction(_ question: ConformanceCase) throws -> CaseVerdict {
    if let verdict = notAsked(question) { return verdict }
    return switch question.stage {
    case .tokens: try tokens(question)
    case .grid: try grid(question)
    case .rgb: try rgb(question)
    case .pixels: try pixels(question)
    case .steps: try step(question)
    case .model: try model(question)
    case .answer: try answer(question)
    case .endpoint: try endpoint(question)
    }
  }

  /// The verdict on a case that is not asked of this runtime; nil for one that is.
  func notAsked(_ question: ConformanceCase) -> CaseVerdict? {
    if question.isRetired { return CaseVerdict(question, .unsupported, "the case is retired") }
    let features = runtime.description.features
    let needed =
      question.stage == .model && asksRequests
      ? question.requires : [question.stage.feature] + question.requires
    if let missing = needed.first(where: { !features.contains($0) }) { return lacks(question, missing) }
    // Who treats images as transformers does is asked what transformers answers.
    if features.contains("image.huggingface"), !question.requires.contains("image.huggingface"),
      question.conflictsWith.contains(where: { $0.contains("/huggingface-") })
    {
      return CaseVerdict(question, .unsupported, "the runtime has image.huggingface, whose answer is another")
    }
    return nil
  }

  /// Whether the runtime takes requests whole, and no tokens and pixels.
  var asksRequests: Bool {
    let features = runtime.description.features
    return features.contains("trace.request") && !features.contains("trace")
  }

  func lacks(_ question: ConformanceCase, _ feature: String) -> CaseVerdict {
    CaseVerdict(question, .unsupported, runtime.lacking(feature))
  }

  /// What an answer is worth: refused where that is right, or as `judge` says of its value.
  func judged(
    _ question: ConformanceCase, _ answer: Answer, _ judge: (JSON) throws -> CaseVerdict
  ) rethrows -> CaseVerdict {
    switch answer {
    case .value(let json):
      if question.expectsRefusal {
        var verdict = CaseVerdict(
          question, .failed,
          "expected a refusal (\(question.expect["reject"]?.text ?? "")), found an answer")
        verdict.explaining = try judge(json).explaining
        return verdict
      }
      return try judge(json)
    case .rejected(let why):
      return explained(
        question.expectsRefusal
          ? CaseVerdict(question, .passed)
          : CaseVerdict(question, .failed, "refused: \(shortened(why, to: 200))"), nil)
    case .unsupported(let why): return CaseVerdict(question, .unsupported, shortened(why, to: 200))
    case .crashed(let how): return CaseVerdict(question, .crashed, shortened(how, to: 400))
    case .timedOut: return CaseVerdict(question, .timedOut)
    case .malformed(let what): return CaseVerdict(question, .malformed, what)
    }
  }

  /// A verdict on an answer that is equal or wrong, with the mistakes that explain it.
  ///
  /// - written: the answer in the form that Fixtures/faults has a hash of; nil for a refusal.
  func explained(_ verdict: CaseVerdict, _ written: [UInt8]?) -> CaseVerdict {
    var explained = verdict
    explained.explaining = faults.explaining(verdict.id, written: written)
    return explained
  }

  /// What shows a failure, if there is room for it.
  func shown(_ question: ConformanceCase, _ evidence: () throws -> Evidence?) rethrows -> Evidence? {
    self.evidence?.take(question) == true ? try evidence() : nil
  }

  /// The file of tensors that an answer names; a name is in the session's folder.
  func tensors(of answer: JSON, _ question: ConformanceCase) throws -> Result<Safetensors, Unusable> {
    guard case .string(let name)? = answer["tensors"] else {
      return .failure(Unusable("no file name under tensors"))
    }
    guard runtime.mayName(name) else {
      return .failure(Unusable("tensors is \(shortened(name)), which is not in the folder of the question"))
    }
    let path = try name.hasPrefix("/") ? name : "\(runtime.folder(of: question))/\(name)"
    do { return .success(try Safetensors(MappedFile(plain: path), headerUpTo: Self.longestHeader)) } catch {
      return .failure(Unusable("\(error)"))
    }
  }

  /// Bytes; a trace of all layers of the full model has a tenth of that.
  private static let longestHeader = 1 << 22

  /// Why what a runtime sent is no answer.
  struct Unusable: Error {
    let why: String

    init(_ why: String) { self.why = why }
  }
}

/// Checkpoints for a runtime, written out when they are first needed, by whichever session needs them.
package final class CheckpointFolders: Sendable {
  private let folder: String
  private let tokenizerFile: String
  private let written = Mutex<Set<String>>([])

  package init(in folder: String, tokenizerFile: String) {
    (self.folder, self.tokenizerFile) = (folder, tokenizerFile)
  }

  static func name(of model: String, layout: CheckpointLayout) -> String {
    "\(model.replacing(":", with: "-"))-\(layout.rawValue)"
  }

  func path(of model: String, layout: CheckpointLayout) throws -> String {
    let path = "\(folder)/\(Self.name(of: model, layout: layout))"
    // Another session waits until it is whole.
    try written.withLock { written in
      guard written.insert(path).inserted else { return }
      try writeCheckpoint(
        Checkpoint(model), layout: layout, to: path, shardBytes: 5 << 30, tokenizer: tokenizerFile)
    }
    return path
  }
}
