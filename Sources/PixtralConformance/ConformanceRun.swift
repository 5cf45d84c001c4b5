import Dispatch
import PixtralReference
import PixtralStorage
import PixtralText
import Synchronization

/// All cases of a run, asked in their order, by one session or by several at a time.
package struct ConformanceRun {
  private let cases: [ConformanceCase]
  private let tokenizer: Tokenizer
  private let faults: FaultAnswers
  private let checkpoints: CheckpointFolders
  private let log: RunLog?
  private let evidence: EvidenceRoom?
  private let progress: (Int, String) -> Void

  /// - log: cases that it has are not asked again.
  /// - evidence: for what shows failures.
  /// - progress: how many are done, and the id of the next.
  package init(
    _ cases: [ConformanceCase], tokenizer: Tokenizer, faults: FaultAnswers, checkpoints: CheckpointFolders,
    log: RunLog? = nil, evidence: EvidenceRoom? = nil, progress: @escaping (Int, String) -> Void = { _, _ in }
  ) {
    (self.cases, self.tokenizer, self.faults, self.checkpoints) = (cases, tokenizer, faults, checkpoints)
    (self.log, self.evidence, self.progress) = (log, evidence, progress)
  }

  private struct State {
    var next = 0
    var verdicts: [CaseVerdict?]
    var failure: (any Error)?
  }

  /// - first: asks; with more jobs, `another` makes those that ask beside it.
  /// - Throws: `InputError` for a case that is not what it says, or a session that cannot be begun.
  package func callAsFunction(
    _ first: any Answering, jobs: Int = 1, another: (Int) throws -> any Answering
  ) throws -> [CaseVerdict] {
    let answering = try [first] + (1..<max(1, jobs)).map(another)
    let state = Mutex(State(verdicts: cases.map { log?.done[$0.id] }))
    // Each thread has a session of its own; what they share is under the lock.
    nonisolated(unsafe) let (run, sessions) = (self, answering)
    if jobs <= 1 {
      run.ask(first, state)
    } else {
      DispatchQueue.concurrentPerform(iterations: jobs) { run.ask(sessions[$0], state) }
    }
    let end = state.withLock { $0 }
    if let failure = end.failure { throw failure }
    return end.verdicts.compactMap(\.self)
  }

  private func ask(_ runtime: any Answering, _ state: borrowing Mutex<State>) {
    let asking = Asking(
      runtime, tokenizer: tokenizer, faults: faults, checkpoints: checkpoints, evidence: evidence)
    func next() -> Int? {
      state.withLock { state in
        while state.next < cases.count, state.verdicts[state.next] != nil { state.next += 1 }
        guard state.failure == nil, state.next < cases.count else { return nil }
        let n = state.next
        state.next += 1
        if n % 50 == 0 || cases[n].stage == .model { progress(n, cases[n].id) }
        return n
      }
    }
    while let n = next() {
      do {
        let verdict = try asking(cases[n])
        try state.withLock { state in
          state.verdicts[n] = verdict
          try log?.append(verdict)
        }
      } catch {
        state.withLock { $0.failure = $0.failure ?? error }
      }
    }
  }
}
