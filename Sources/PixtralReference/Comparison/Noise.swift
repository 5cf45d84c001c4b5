import Glibc
import PixtralStorage

/// How far right runs are from float64, tap by tap, as it was measured: the envelope of all legal rounding
/// schedules on the model cases. Trace.md, limits.
struct Noise: Sendable {
  /// relF by arithmetic, of each tap.
  let taps: [String: [Arithmetic: Double]]
  /// The last layers of the vision encoder and of the decoder.
  private let lastLayers: [String: Int]

  /// The seeded models' own, by their names.
  static let ofModels: [String: Noise] = {
    var models: [String: [String: [Arithmetic: Double]]] = [:]
    var model = ""
    for line in noiseTable.split(separator: "\n") {
      let words = line.split(separator: " ")
      if words.count == 1 {
        model = String(words[0])
      } else {
        let numbers = words.dropFirst().map { Double($0)! }
        models[model, default: [:]][String(words[0])] = Dictionary(
          uniqueKeysWithValues: zip(Arithmetic.allCases, numbers))
      }
    }
    return models.mapValues(Noise.init)
  }()

  init(taps: [String: [Arithmetic: Double]]) {
    self.taps = taps
    lastLayers = taps.keys.compactMap(LayerTapName.init).reduce(into: [:]) {
      $0[$1.part] = max($0[$1.part] ?? 0, $1.layer)
    }
  }

  /// The envelope of a case: the largest relF of its schedules.
  ///
  /// - model: that of the case.
  /// - Throws: `InputError` of kind `wrongTrace` for what is no whole envelope of the model.
  init(envelope path: String, of model: String) throws {
    let json = try JSON(file: path, upTo: 1 << 23)
    func refuse(_ key: String, _ expected: String) -> InputError {
      InputError(
        .wrongTrace, "\(path), \(key)", expected: expected, found: "something else",
        advice: "Tools/goldens/full_model.py makes envelopes")
    }
    guard json["model"] == .string(model) else { throw refuse("model", "\(model), as the case has it") }
    guard case .array(let names)? = json["taps"], !names.isEmpty,
      Set(names.map(\.plainText)).count == names.count
    else { throw refuse("taps", "an array of names, each once") }
    guard case .object(let measured)? = json["arithmetics"], !measured.isEmpty else {
      throw refuse("arithmetics", "an object of arithmetics, one at least")
    }
    var taps: [String: [Arithmetic: Double]] = [:]
    for member in measured {
      guard let arithmetic = Arithmetic(rawValue: member.key),
        case .object(let schedules)? = member.value["relF"], !schedules.isEmpty
      else {
        throw refuse("arithmetics.\(member.key)", "relF of schedules, of an arithmetic: \(Arithmetic.names)")
      }
      for schedule in schedules {
        guard case .array(let distances) = schedule.value, distances.count == names.count else {
          throw refuse("arithmetics.\(member.key).relF.\(schedule.key)", "\(names.count) numbers")
        }
        for (name, distance) in zip(names, distances) {
          guard case .string(let tap) = name, let relF = distance.decimal, relF >= 0 else {
            throw refuse("arithmetics.\(member.key).relF.\(schedule.key)", "numbers that are not negative")
          }
          taps[tap, default: [:]][arithmetic] = max(taps[tap]?[arithmetic] ?? 0, relF)
        }
      }
    }
    self.init(taps: taps.mapValues { $0.reduce(into: [:]) { $0[$1.key] = max($1.value, $1.key.leastNoise) } })
  }

  /// The noise that is nearest to a model's: its own, or that of the seeded model of nearest width.
  ///
  /// - columns: of the decoder's embeddings or norms, where no parameters are known.
  /// - Returns: and of which model it is.
  static func nearest(to model: String?, _ parameters: Parameters?, columns: Int?) -> (
    noise: Noise, model: String
  ) {
    if let model, let own = ofModels[model] { return (own, model) }
    let width = Double(parameters?.dim ?? columns ?? .max)
    func ratio(_ name: String) -> Double { abs(log2(width / Double(SeededModel.all[name]!.dim))) }
    let name = ofModels.keys.sorted().min { ratio($0) < ratio($1) }!
    return (ofModels[name]!, name)
  }

  /// What was measured at a tap, or at the same tap of the nearest layer.
  ///
  /// - Returns: also the tap at which it was measured; nil for what is no tap of a layer and was not
  ///   measured.
  func at(_ tap: String, _ arithmetic: Arithmetic) -> (relF: Double, tap: String)? {
    if let relF = taps[tap]?[arithmetic] { return (relF, tap) }
    guard let name = LayerTapName(tap), let last = lastLayers[name.part] else { return nil }
    // Scores and weights, which are large, have the noise of what they are made of.
    let step = name.tap == .scores || name.tap == .weights ? LayerTap.context : name.tap
    let nearest = "\(name.part).layers.\(min(name.layer, last)).\(step.rawValue)"
    return taps[nearest]?[arithmetic].map { ($0, nearest) }
  }
}

extension Arithmetic {
  /// A quarter of the unit of rounding, less than storing a value once has: of a tap that is only copied
  /// right runs do not differ at all.
  var leastNoise: Double { unit / 4 }

  /// The unit of rounding: by what part of itself a value changes at most.
  var unit: Double {
    switch self {
    case .float64: 0x1p-53
    case .float32: 0x1p-24
    case .tf32, .float16: 0x1p-11
    case .bfloat16: 0x1p-8
    }
  }
}
