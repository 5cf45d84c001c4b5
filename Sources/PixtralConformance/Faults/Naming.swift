/// Calls mistakes by their names, from all that a runtime answered.
///
/// A mistake explains an answer that is its own, or nearer to it than a quarter of the way from the truth. That
/// alone would be a guess where several mistakes answer alike: a mistake is named only if it explains nine of ten
/// wrong answers to questions of the kind that it would answer wrongly, and no right answer speaks against it. And
/// where all that are left explain less than nine of ten failures of a kind, something else is wrong: none is named.
struct Naming {
  /// What answers say about one mistake.
  private struct Tally {
    var explained = 0
    var wrongOtherwise = 0
    var right = 0

    var isBelieved: Bool { explained > 0 && right == 0 && explained >= 9 * wrongOtherwise }
  }

  private var tallies: [String: [String: Tally]] = [:]
  /// Kinds of which most failures are explained.
  private var explainedKinds: Set<String> = []

  init(_ verdicts: [CaseVerdict]) {
    for verdict in verdicts where verdict.verdict == .passed || verdict.verdict == .failed {
      for (fault, isExplained) in verdict.explaining {
        let part: WritableKeyPath<Tally, Int> =
          verdict.verdict == .passed ? \.right : isExplained ? \.explained : \.wrongOtherwise
        tallies[verdict.kind, default: [:]][fault, default: Tally()][keyPath: part] += 1
      }
    }
    let failures = Dictionary(grouping: verdicts.filter { $0.verdict == .failed }, by: \.kind)
    explainedKinds = Set(
      failures.filter { _, failures in failures.count { !believed($0).isEmpty } * 10 >= failures.count * 9 }
        .keys)
  }

  private func believed(_ verdict: CaseVerdict) -> [String] {
    let candidates = verdict.explaining.filter(\.value).map(\.key) + verdict.mayExplain
    return candidates.filter { tallies[verdict.kind]?[$0]?.isBelieved == true }
  }

  /// The ids of the mistakes that a failure looks like: those that explain as many failures of its kind as any.
  func names(of verdict: CaseVerdict) -> [String] {
    guard verdict.verdict == .failed, explainedKinds.contains(verdict.kind),
      let tallies = tallies[verdict.kind]
    else { return [] }
    let believed = believed(verdict)
    let most = believed.map { tallies[$0]!.explained }.max()
    // Forms of one mistake are one.
    return Set(believed.filter { tallies[$0]!.explained == most }.map { $0.prefix { $0 != "~" } })
      .map(String.init).sorted()
  }
}
