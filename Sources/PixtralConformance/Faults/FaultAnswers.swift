import PixtralReference
import PixtralStorage

/// What the oracle answers with each mistake of Faults.md in it: Fixtures/faults, by which a mistake is called by
/// its name. Tools/goldens/make_fault_answers.py makes them, and says how.
///
/// A mistake is written `ID`, or `ID~FORM` where one has several forms.
package struct FaultAnswers: Sendable {
  /// Of a case with one right answer: the hashes of what the mistakes answer.
  private var exact: [String: [String: String]] = [:]
  private var sketched: [String: SketchedAnswers] = [:]
  /// Of a checkpoint: numbers that a refusal to load it names, the wrong one and the right one.
  private var refusals: [String: [String: [[Int]]]] = [:]

  /// No mistake is known.
  package init() {}

  /// - folder: such as `Fixtures/faults`.
  /// - Throws: `InputError` for files that are not what the maker writes.
  package init(_ folder: String) throws {
    func members(_ json: JSON?, _ place: String) throws -> [JSON.Member] {
      guard case .object(let members)? = json else {
        throw InputError(.wrongRequest, place, expected: "an object", found: "something else")
      }
      return members
    }
    for (place, json) in try jsonLines("\(folder)/exact.jsonl") {
      var answers: [String: String] = [:]
      for member in try members(json["answers"], place) { answers[member.key] = member.value.plainText }
      exact[json["case"]?.plainText ?? ""] = answers
    }
    for (place, json) in try jsonLines("\(folder)/distances.jsonl") {
      let id = json["case"]?.plainText ?? ""
      var answers: [String: [String: Double]] = [:]
      for member in try members(json["answers"], place) {
        for tap in try members(member.value, place) {
          answers[member.key, default: [:]][tap.key] = tap.value.double
        }
      }
      sketched[id] = SketchedAnswers(
        case: id, file: "\(folder)/\(json["sketches"]?.plainText ?? "")", moved: answers)
    }
    let place = "\(folder)/load.json"
    for model in try members(JSON(file: place, upTo: 1 << 20), place) {
      for member in try members(model.value, place) {
        guard case .array(let pairs) = member.value else { continue }
        refusals[model.key, default: [:]][member.key] = pairs.compactMap(\.integers)
      }
    }
  }

  /// Whether an answer is that of each mistake that would answer a case otherwise than right.
  ///
  /// - written: the answer as bytes; nil for a refusal.
  func explaining(_ id: String, written: [UInt8]?) -> [String: Bool] {
    guard let answers = exact[id] else { return [:] }
    let found = Self.hash(of: written ?? Array("rejected".utf8))
    return answers.mapValues { $0 == found }
  }

  /// What stands for a written answer: the first 12 digits of its SHA-256.
  static func hash(of written: [UInt8]) -> String {
    let hash = SHA256()
    hash.update(written)
    return String(hash.hexDigest().prefix(12))
  }

  /// Tokens as they are written: `1,3,4`.
  static func written(_ tokens: [Int]) -> [UInt8] {
    Array(tokens.map(String.init).joined(separator: ",").utf8)
  }

  /// What mistakes answer to a case whose answers are matrices.
  func sketches(_ id: String) -> SketchedAnswers? { sketched[id] }

  /// Whether a refusal to load a checkpoint names numbers that each mistake would take it to have.
  func explaining(refusal: String, of model: String) -> [String: Bool] {
    let words = refusal.split { !$0.isNumber }
    let numbers = Set(words.compactMap { Int($0) })
    return (refusals[model] ?? [:]).mapValues { pairs in pairs.contains { numbers.isSuperset(of: $0) } }
  }
}

/// Answers that are some distance from the right one.
struct SketchedAnswers: Sendable {
  let `case`: String
  let file: String
  /// Of each mistake: the relF of the taps that it moves.
  let moved: [String: [String: Double]]

  /// The nearest part of the way from the truth to a mistake's answer that still is that mistake.
  static let share = 0.25

  /// Whether each mistake explains taps of which it moves one at least by what cannot be noise.
  ///
  /// - limit: the relF of a tap beyond which a mistake is decidable.
  /// - found: a tap as the runtime has it; nil for one that it lacks.
  /// - isAlike: of a mistake that adds a vector of its own choice: whether a tap has one vector added to each row;
  ///   nil where that cannot be said.
  func explaining(
    limit: (String) -> Double?, found: (String) -> SketchedTap?, isAlike: (String) -> Bool? = { _ in nil }
  ) throws -> [String: Bool] {
    let sketches = try Safetensors(MappedFile(plain: file))
    let tensors = Dictionary(uniqueKeysWithValues: sketches.tensors.map { ($0.name, $0) })
    // Many mistakes move the same taps.
    var taken: [String: SketchedTap?] = [:]
    func tap(_ name: String) -> SketchedTap? {
      if let known = taken[name] { return known }
      let tap = found(name)
      taken[name] = .some(tap)
      return tap
    }
    var explaining: [String: Bool] = [:]
    for (fault, taps) in moved {
      // Its bias is any bias: the first of its taps tells all.
      if fault == "A-bias" {
        let tap = "adapter.w_in"
        if let moved = taps[tap], let limit = limit(tap), moved > limit {
          explaining[fault] = isAlike(tap)
        }
        continue
      }
      for (name, moved) in taps {
        guard let limit = limit(name), moved > limit, let found = tap(name) else { continue }
        // A file of a suite has those of many cases.
        let key = ["pixels", "output"].contains(name) ? "\(`case`)/\(fault)" : "\(fault)/\(name)"
        guard let tensor = tensors[key] else {
          throw InputError(
            .wrongRequest, "\(file), tensor \(key)", expected: "the sketch of a mistake", found: "none")
        }
        let sketch: [Float] = try StoredTensor(tensor, of: sketches.file).vector()
        let isNear = found.distance(to: sketch) < Self.share * moved * found.reference
        explaining[fault] = (explaining[fault] ?? true) && isNear
      }
    }
    return explaining
  }
}

extension JSON {
  fileprivate var double: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }
}
