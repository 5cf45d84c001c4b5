import PixtralReference
import PixtralStorage
import PixtralText

// Stage model: from tokens and pixels to every tap.

extension Asking {
  func model(_ question: ConformanceCase) throws -> CaseVerdict {
    guard let model = question.model, question.expect["tensors"] != nil else {
      return CaseVerdict(question, .unsupported, "the full shape is not written out for a session")
    }
    if let failure = try load(model, for: question) { return failure }
    let golden = try TraceFile(question.folder)
    if asksRequests { return try request(question, golden) }
    let answer = try runtime.ask(
      question, "trace",
      [
        ("tokens", question.expect["tokens"].jsonBytes), ("tensors", try pixels(of: golden, question)),
        ("taps", JSON.array(golden.taps.map(JSON.string)).bytes),
      ])
    return try judged(question, answer) { answer in
      switch try tensors(of: answer, question) {
      case .failure(let unusable): return CaseVerdict(question, .malformed, unusable.why)
      case .success(let file):
        guard file.tensors.contains(where: { golden.taps.contains($0.name) }) else {
          return CaseVerdict(question, .malformed, "no tap in \(file.file.path)")
        }
        return try judged(file.file.path, against: golden, question)
      }
    }
  }

  /// - Returns: nil if the checkpoint is loaded; else a verdict on what became of it.
  func load(_ model: String, for question: ConformanceCase) throws -> CaseVerdict? {
    guard let failure = try runtime.load(question, { try checkpoints.path(of: model, layout: $0) }) else {
      return nil
    }
    var verdict = judged(question, failure) { _ in preconditionFailure("a value of what failed") }
    if case .rejected(let why) = failure { verdict.explaining = faults.explaining(refusal: why, of: model) }
    return verdict
  }

  func judged(_ path: String, against reference: TraceFile, _ question: ConformanceCase) throws
    -> CaseVerdict
  {
    // A file may say that it is a digest, and be none.
    let candidate: TraceFile
    do { candidate = try TraceFile(path) } catch {
      return CaseVerdict(question, .malformed, "\(error)")
    }
    guard candidate.names.contains(where: reference.taps.contains) else {
      return CaseVerdict(question, .malformed, "no tap in \(path)")
    }
    let comparison: Comparison
    do {
      comparison = try Comparison(
        reference: reference, candidate: candidate, .init(arithmetic: runtime.description.arithmetic)
      ) { tokenizer.vocabulary.pieces.indices.contains($0) ? tokenizer.vocabulary.pieces[$0].text : nil }
    } catch {
      // A file that became shorter is its runtime's fault, and no end of the run.
      do { try candidate.checkWhole() } catch { return CaseVerdict(question, .malformed, "\(error)") }
      throw error
    }
    var verdict = verdict(on: comparison, question)
    verdict.explaining = try explaining(comparison, question)
    // One row is always off by one vector.
    if verdict.tap == "adapter.w_in", verdict.explaining["A-bias"] == nil { verdict.mayExplain = ["A-bias"] }
    return verdict
  }

  /// Whether each mistake of Fixtures/faults gives what a runtime gave.
  private func explaining(_ comparison: Comparison, _ question: ConformanceCase) throws -> [String: Bool] {
    let rows = question.expect["rows"]
    let limits = Dictionary(uniqueKeysWithValues: comparison.taps.map { ($0.name, $0.limit) })
    let order = comparison.taps.map(\.name)
    let firstWrong = comparison.firstDivergence.flatMap { order.firstIndex(of: $0.name) } ?? order.count
    guard let sketches = faults.sketches(question.id) else { return [:] }
    let found = try sketches.explaining(
      limit: { limits[$0].map { $0.relF * $0.farMultiple } },
      found: { comparison.sketch(of: $0, rows: rows?[$0]?.integers) }, isAlike: { comparison.addsOneRow($0) })
    return found.reduce(into: [:]) { explaining, fault in
      // What is wrong before a mistake can show is no work of it.
      let start = sketches.moved[fault.key]!.keys.compactMap { order.firstIndex(of: $0) }.min() ?? 0
      explaining[fault.key] = fault.value && start <= firstWrong
    }
  }

  private func verdict(on comparison: Comparison, _ question: ConformanceCase) -> CaseVerdict {
    let given = comparison.taps.filter { !$0.isMissing }
    let first = comparison.firstDivergence ?? given.first(where: \.isUndecided)
    guard let first else {
      return CaseVerdict(question, .passed, "\(given.count) of \(comparison.taps.count) taps")
    }
    let count = given.count(where: \.diverges)
    return CaseVerdict(
      question, first.diverges ? .failed : .undecided,
      first.diverges
        ? "\(count) of \(given.count) taps diverge\(first.rowName.map { "; the worst row is \($0)" } ?? "")"
        : "between the noise of right runs and what is surely wrong",
      tap: first.name, distance: first.distance?.relF, limit: first.limit.relF,
      evidence: shown(question) { .curve(ErrorCurve(comparison.taps)) })
  }

  /// The pixels of a case in a file of their own, as JSON: its path, or null.
  private func pixels(of reference: TraceFile, _ question: ConformanceCase) throws -> [UInt8] {
    let images = reference.images
    guard !images.isEmpty else { return Array("null".utf8) }
    let path = try "\(runtime.inputFolder(of: question))/pixels.safetensors"
    let entries = images.map { SafetensorsWriter.Entry(name: $0.name, dtype: .f32, shape: $0.shape) }
    let writer = try SafetensorsWriter(entries) { try NewFile(path, room: $0, sparing: []) }
    for image in images {
      let values: [Float] = image.vector()
      try values.withUnsafeBytes { try writer.write($0) }
    }
    try writer.finish()
    return JSON.string(path).bytes
  }
}
