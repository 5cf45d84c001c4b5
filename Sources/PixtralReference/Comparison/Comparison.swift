import PixtralStorage

/// Two traces, tap by tap, in the order of computation.
package struct Comparison: Sendable {
  package enum Verdict: Sendable, Equatable {
    case close(Distance)
    /// Farther than right runs were measured to be, and not far enough for a mistake.
    case undecided(Distance)
    case far(Distance)
    case otherShape(expected: [Int], found: [Int])
    /// Values that are no floating-point numbers of 16 bits or more.
    case otherDType(String)
    /// The first position at which exactly one of the two is finite, or where both are infinite
    /// with other signs, or NaN.
    case nonFinite(row: Int, column: Int)
    /// Of digests: how many values are not finite; or one has NaN.
    case otherNonFinite(expected: Int, found: Int)
    case missing
  }

  package struct Tap: Sendable {
    package let name: String
    package let limit: DistanceLimit
    package var verdict: Verdict
    /// Of a verdict that names a row: which patch or token it is, where that is known.
    package var rowName: String?
    /// Of q or k that are far: whether they are close in the other order of a head's columns.
    package var isCloseInOtherOrder = false

    /// How far it is, where that is a number.
    package var distance: Distance? {
      switch verdict {
      case .close(let distance), .undecided(let distance), .far(let distance): distance
      default: nil
      }
    }
    package var passed: Bool { if case .close = verdict { true } else { false } }
    package var isUndecided: Bool { if case .undecided = verdict { true } else { false } }
    package var isMissing: Bool { verdict == .missing }
    /// Whether it is anything but close, undecided or missing.
    package var diverges: Bool { !passed && !isUndecided && !isMissing }
  }

  /// What was asked for.
  package struct Options: Sendable {
    /// Patterns of the taps to compare, as for `choose`; empty for all of the reference's.
    package var globs: [String] = []
    /// Instead of the limit that the arithmetic implies.
    package var limit: DistanceLimit?
    /// What the candidate computed in; nil for the narrowest that its dtype allows.
    package var arithmetic: Arithmetic?

    package init(globs: [String] = [], limit: DistanceLimit? = nil, arithmetic: Arithmetic? = nil) {
      (self.globs, self.limit, self.arithmetic) = (globs, limit, arithmetic)
    }
  }

  package let taps: [Tap]
  /// Tensors that only the candidate has, and the tap of the reference that is likely meant.
  package let extra: [(name: String, meant: String?)]
  package let options: Options
  let reference: TraceFile
  let candidate: TraceFile
  let pairs: [TapPair]
  /// What q and k of the parts of the model show of their order.
  let rotary: [RotaryPart: RotaryReading]
  /// The model on which the noise was measured that limits come from.
  let noiseModel: String
  /// The hyper-parameters, if a side says them.
  let parameters: Parameters?

  /// The first tap that exceeds a limit, or has another shape, another dtype, or values that are not
  /// finite.
  package var firstDivergence: Tap? { taps.first(where: \.diverges) }
  package var missing: [Tap] { taps.filter(\.isMissing) }
  package var undecided: [Tap] { taps.filter(\.isUndecided) }
  package var passed: Bool { taps.allSatisfy(\.passed) }
  package var failed: Bool { taps.contains { $0.diverges || $0.isMissing } }

  /// The parts whose q and k one side has in half-split order.
  var halfSplit: [RotaryPart: HalfSplit] { Self.halfSplit(rotary) }

  private static func halfSplit(_ readings: [RotaryPart: RotaryReading]) -> [RotaryPart: HalfSplit] {
    readings.compactMapValues { if case .halfSplit(let order) = $0 { order } else { nil } }
  }

  /// What the two are of: the reference says it, or else the candidate.
  var run: RunDescription { reference.run.tokens.isEmpty ? candidate.run : reference.run }

  /// - piece: the text of a token, to name rows by.
  /// - Throws: `InputError` of kind `wrongTap` if a pattern matches nothing, `wrongTrace` if there is
  ///   nothing to compare, `unreadableFile` if a file became shorter.
  package init(
    reference: TraceFile, candidate: TraceFile, _ options: Options = Options(),
    piece: (Int) -> String? = { _ in nil }
  ) throws {
    guard candidate.model == nil || reference.model != nil else {
      throw InputError(
        .wrongTrace, candidate.path, expected: "a trace or a file with taps as the candidate",
        found: "a case",
        advice: "give the case first: it is a reference")
    }
    if let other = reference.others.first(where: { TapPlace($0.name) != nil }) {
      throw InputError(
        .wrongTrace, "\(reference.path), tensor \(other.name)",
        expected: "a matrix of floating-point numbers in a reference",
        found: "\(other.typeName) \(other.shape)", advice: "store it as F32")
    }
    let judged = reference.tensors
    guard !judged.isEmpty else {
      throw InputError(
        .wrongTrace, reference.path, expected: "at least one matrix of floating-point numbers", found: "none")
    }
    let chosen = try choose(options.globs, among: judged.map(\.name), of: reference.path)
    let found = candidate.tensorsByName
    let run = reference.run.tokens.isEmpty ? candidate.run : reference.run
    let parameters = reference.run.parameters ?? candidate.run.parameters
    self.parameters = parameters
    let width = judged.first { $0.name.hasSuffix("_norm") || $0.name == ModelTap.decoderNorm.rawValue }?
      .columns
    let noise = Noise.nearest(to: run.model, parameters, columns: width)
    noiseModel = noise.model
    var pairs = judged.filter { chosen.contains($0.name) }.map {
      TapPair($0, found[$0.name] ?? .missing, of: reference.model, run, parameters, noise.noise, options)
    }
    extra = candidate.extra(beside: reference)
    guard pairs.contains(where: { found[$0.name] != nil }) else {
      throw InputError(
        .wrongTrace, candidate.path,
        expected: pairs.count == 1
          ? "\(shownName(pairs[0].name)), the one tap of \(reference.path) to compare"
          : "at least one of the \(pairs.count) taps of \(reference.path) to compare",
        found: found.keys.min().map { "only others, such as \($0)" } ?? "no tensor",
        advice: extra.compactMap(\.meant).first.map { "name them as the taps are, such as \($0)" }
          ?? "Docs/Model.md, section 8, has the taps' names")
    }
    // Pixels are an input: who does not give them back computes no less.
    pairs.removeAll { found[$0.name] == nil && TapPlace.isPixels($0.name) }
    chooseReadings(&pairs)
    (self.options, self.reference, self.candidate, self.pairs) = (options, reference, candidate, pairs)
    rotary = RotaryPart.allCases.reduce(into: [:]) {
      $0[$1] = rotaryReading(pairs, of: $1, parameters, isBare: reference.run.parameters == nil)
    }
    let halfSplit = Self.halfSplit(rotary)
    taps = pairs.map { $0.judged(halfSplit, parameters, run, piece) }
    try checkWhole()
  }

  /// Makes sure that no file has become shorter while it was read.
  ///
  /// - Throws: `InputError` of kind `unreadableFile`.
  func checkWhole() throws {
    try reference.checkWhole()
    try candidate.checkWhole()
  }

  /// The checkpoint that the reference was computed with, if it is a seeded one: its name.
  package var seededModel: String? { run.model.flatMap { $0.hasPrefix("seeded:") ? $0 : nil } }
}

extension TraceFile {
  /// Tensors that only this file has, each with the tap of the other that it lacks and that is likely
  /// meant.
  fileprivate func extra(beside reference: TraceFile) -> [(name: String, meant: String?)] {
    let (mine, theirs) = (tensorsByName, reference.tensorsByName)
    let missing = reference.tensors.map(\.name).filter { mine[$0] == nil }
    let names = tensors.map(\.name) + others.map(\.name)
    // Pixels are an input, and no tap too many.
    return names.filter { theirs[$0] == nil && !TapPlace.isPixels($0) }.enumerated().map { n, name in
      // A suggestion takes time, and nobody reads a hundred.
      (name, n < 10 ? nearest(name, of: missing) : nil)
    }
  }

  /// Every tensor, whatever it holds.
  fileprivate var tensorsByName: [String: TapPair.Found] {
    var byName: [String: TapPair.Found] = [:]
    for tensor in tensors { byName[tensor.name] = .matrix(tensor) }
    for other in others { byName[other.name] = .other(other) }
    return byName
  }
}
