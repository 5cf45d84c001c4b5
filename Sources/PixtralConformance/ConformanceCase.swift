import PixtralReference
import PixtralStorage
import PixtralText

/// The stages of the data, in its order.
package enum Stage: String, Sendable, CaseIterable {
  case rgb, grid, tokens, pixels, model, answer
  /// Each operation alone, on golden inputs: it says what all is wrong, where a model says what is wrong first.
  case steps
  /// What a server tells: only an endpoint is asked.
  case endpoint

  /// What a runtime that does it lists among its features.
  var feature: String {
    switch self {
    case .tokens, .grid, .rgb, .pixels, .answer, .endpoint: rawValue
    case .steps: "step"
    case .model: "trace"
    }
  }
}

/// One question to a runtime, with its right answer. Cases.md.
package struct ConformanceCase: Sendable {
  /// Its path, such as `image/grid/100x80`.
  package let id: String
  /// What it shows: one fact.
  package let title: String
  package let stage: Stage
  /// The mistakes that would fail it, by their ids in Faults.md.
  package let exposes: [String]
  /// Features that a runtime needs for it.
  package let requires: [String]
  /// Cases with the same question and another accepted answer.
  package let conflictsWith: [String]
  package let isRetired: Bool
  /// Whether it is random, or of a detail.
  var isMinor: Bool { json["importance"]?.text == "low" }
  /// The whole case, as it is after reading.
  package let json: PythonValue
  /// The folder that its files are named from.
  let folder: String
  /// SHA-256 of the case as it is written: its file, its line, or its row of a table.
  package var sha256: String {
    let hash = SHA256()
    hash.update(written)
    return hash.hexDigest()
  }
  private let written: [UInt8]
  /// The suite or the `case.json` that it stands in.
  package let file: String
  /// The request as it is written, which may have what no value here holds, such as half of a surrogate
  /// pair.
  let request: [UInt8]?

  var operation: String { json["subject"]?["operation"]?.text ?? "" }
  var model: String? { json["model"]?.text }
  var inputs: PythonValue { json["inputs"] ?? .none }
  var expect: PythonValue { json["expect"] ?? .none }
  var compare: PythonValue { json["compare"] ?? .none }
  /// Whether the right answer is that the question is refused.
  var expectsRefusal: Bool { expect["reject"] != nil }

  /// - place: where the case stands, for errors.
  /// - Throws: `InputError` of kind `wrongRequest` for what is no case.
  init(
    _ json: PythonValue, request: [UInt8]?, written: [UInt8] = [], folder: String, file: String = "",
    place: String
  ) throws {
    func refuse(_ key: String, _ expected: String) -> InputError {
      InputError(
        .wrongRequest, "\(place), \(key)", expected: expected, found: json[key]?.kindName ?? "nothing",
        advice: "Docs/Cases.md has the keys of a case")
    }
    func string(_ key: String) throws -> String {
      guard let text = json[key]?.text else { throw refuse(key, "a string") }
      return text
    }
    func strings(_ key: String) throws -> [String] {
      guard let list = json[key]?.list else { throw refuse(key, "an array of strings") }
      return try list.map { value in
        guard let text = value.text else { throw refuse(key, "an array of strings") }
        return text
      }
    }
    id = try string("id")
    title = try string("title")
    guard let stage = Stage(rawValue: try string("stage")) else {
      throw refuse("stage", Stage.allCases.map(\.rawValue).joined(separator: ", "))
    }
    self.stage = stage
    exposes = try strings("exposes")
    requires = try strings("requires")
    conflictsWith = try strings("conflicts_with")
    isRetired = json["retired"].map { $0 != .none } ?? false
    (self.json, self.request, self.folder) = (json, request, folder)
    (self.written, self.file) = (written, file)
  }
}

extension ConformanceCase {
  /// How far right runs are from the answer: in each arithmetic the largest distance of any schedule.
  ///
  /// - measure: a key of `compare`, such as `relF`.
  func noise(_ measure: String) throws -> [Arithmetic: Double] {
    func refuse(_ key: String, _ expected: String) -> InputError {
      InputError(.wrongRequest, "\(id), compare.\(key)", expected: expected, found: "something else")
    }
    guard case .dictionary(let arithmetics)? = compare[measure], !arithmetics.isEmpty else {
      throw refuse(measure, "an object of arithmetics")
    }
    var noise: [Arithmetic: Double] = [:]
    for member in arithmetics {
      guard let arithmetic = Arithmetic(rawValue: member.key.text),
        case .dictionary(let schedules) = member.value
      else { throw refuse(measure, "arithmetics: \(Arithmetic.names)") }
      for schedule in schedules {
        guard let distance = schedule.value.number, distance >= 0 else {
          throw refuse("\(measure).\(member.key.text)", "numbers that are not negative")
        }
        noise[arithmetic] = max(noise[arithmetic] ?? 0, distance)
      }
    }
    return noise
  }
}

extension PythonValue {
  /// What a string says.
  package var text: String? { if case .string(let value) = self { value.text } else { nil } }
  package var list: [PythonValue]? { if case .list(let values) = self { values } else { nil } }
  package var integer: Int? { if case .integer(let digits) = self { Int(digits) } else { nil } }
  /// A number of either kind.
  package var number: Double? {
    switch self {
    case .integer(let digits): Double(digits)
    case .float(let value): value
    default: nil
    }
  }
  /// An array of integers.
  package var integers: [Int]? {
    guard let list else { return nil }
    let integers = list.compactMap(\.integer)
    return integers.count == list.count ? integers : nil
  }
}
