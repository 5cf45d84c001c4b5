import PixtralStorage

/// What came of a case.
package struct CaseVerdict: Sendable {
  package enum Verdict: String, Sendable, CaseIterable {
    case passed, failed
    /// Between the noise of right runs and what is surely wrong.
    case undecided
    /// Not asked, or the runtime said that it does not do this. No pass.
    case unsupported
    case crashed
    case timedOut = "timed-out"
    /// An answer that is none.
    case malformed

    /// Whether the run fails with it.
    package var isFailure: Bool { [.failed, .crashed, .timedOut, .malformed].contains(self) }
  }

  package let id: String
  package let stage: Stage
  package let verdict: Verdict
  /// Of a model: where it shows first, in the order of computation.
  package var tap: String?
  package var distance: Double?
  package var limit: Double?
  /// What was found, in words; of what a runtime sent no more than a sentence.
  package var detail: String?
  /// Ids of the mistakes that it looks like, which explain it equally; none where nothing does.
  package internal(set) var looksLike: [String] = []
  /// The kind of question: mistakes of one kind are named together.
  let kind: String
  /// Of each mistake that would answer otherwise than right: whether this is its answer.
  var explaining: [String: Bool] = [:]
  /// Mistakes that may explain it, as this case alone cannot tell.
  var mayExplain: Set<String> = []
  /// What shows it, of the first failures.
  package var evidence: Evidence?

  init(
    _ question: ConformanceCase, _ verdict: Verdict, _ detail: String? = nil, tap: String? = nil,
    distance: Double? = nil, limit: Double? = nil, evidence: Evidence? = nil
  ) {
    (id, stage, self.verdict) = (question.id, question.stage, verdict)
    kind = "\(question.stage.rawValue) \(question.json["subject"]?["step"]?.text ?? question.operation)"
    self.detail = detail.map { shortened($0, to: 600) }
    (self.tap, self.distance, self.limit, self.evidence) = (tap, distance, limit, evidence)
  }
}
