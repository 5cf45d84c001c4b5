import PixtralImage
import PixtralStorage

/// One side of a comparison: a trace, a file of another runtime, or a case of Fixtures.
package struct TraceFile: Sendable {
  package let path: String
  /// What can be a tap: tensors of floating-point numbers, one at least, in the order of computation.
  let tensors: [StoredTensor]
  /// Every other tensor.
  let others: [Safetensors.Tensor]
  /// What they are of, as far as that is known.
  let run: RunDescription
  /// Of a case: its rows and limits.
  let model: ModelCaseLimits?

  /// - path: a trace folder, whose pixels count too; a folder of Fixtures/cases/model; or a safetensors file of any runtime
  ///   with taps as its tensors.
  package init(_ path: String) throws {
    self.path = path
    var (file, run, model) = (path, RunDescription(), ModelCaseLimits?.none)
    var pixels: Safetensors?
    if isFolder(path) {
      let names = fileNames(in: path) ?? []
      if names.contains("case.json") {
        let json = try JSON(file: "\(path)/case.json")
        guard case .string(let tensors)? = json["expect"]?["tensors"], !tensors.contains("/") else {
          throw InputError(
            .wrongTrace, "\(path)/case.json", expected: "a case of stage model, with tensors under expect",
            found: json["stage"]?.text() ?? "another object",
            advice: "Fixtures/cases/model has such cases")
        }
        file = "\(path)/\(tensors)"
        run = try RunDescription(case: json)
        model = ModelCaseLimits(json)
      } else if names.contains("trace.safetensors") {
        file = "\(path)/trace.safetensors"
        if names.contains("trace.json") { run = try RunDescription(traceFile: "\(path)/trace.json") }
        if names.contains(TraceFolder.pixelsName) {
          pixels = try Safetensors("\(path)/\(TraceFolder.pixelsName)")
        }
      } else {
        throw InputError(
          .wrongTrace, path, expected: "a folder with trace.safetensors, or with case.json",
          found: "neither in it",
          advice: "give a folder that `trace` wrote, a model case, or a safetensors file")
      }
    }
    (self.run, self.model) = (run, model)
    var tensors: [StoredTensor] = []
    var others: [Safetensors.Tensor] = []
    for file in [try Safetensors(file)] + [pixels].compactMap(\.self) {
      for tensor in file.tensors {
        if tensor.dtype != nil && !tensor.range.isEmpty {
          tensors.append(try StoredTensor(tensor, of: file.file))
        } else {
          others.append(tensor)
        }
      }
    }
    self.tensors = tensors.inOrderOfComputation(\.name)
    self.others = others
  }
}

/// What a run is about, as far as a file says it.
struct RunDescription: Sendable {
  /// `seeded:NAME`, or the name of a folder.
  var model: String?
  /// The prompt.
  var tokens: [Int] = []
  /// Grids of the images, in the order of the prompt.
  var grids: [PatchGrid] = []
  /// The hyper-parameters.
  var parameters: Parameters?

  init() {}

  /// What `trace.json` says.
  init(traceFile path: String) throws {
    // A long prompt has a long list of tokens.
    let json = try JSON(file: path, upTo: 1 << 23)
    if case .string(let name)? = json["model"] { model = name }
    tokens = json["tokens"]?.integers ?? []
    grids = Self.grids(json["images"])
    parameters = try json["parameters"].map { try Parameters($0, place: "\(path), parameters") }
  }

  /// What `case.json` says.
  init(case json: JSON) throws {
    if case .string(let name)? = json["model"] {
      model = name
      parameters = try Checkpoint(name).parameters
    }
    tokens = json["expect"]?["tokens"]?.integers ?? []
    grids = Self.grids(json["expect"]?["grids"])
  }

  private static func grids(_ json: JSON?) -> [PatchGrid] {
    let longest = 1 << 16  // of patches: more than any checkpoint has
    guard case .array(let images)? = json else { return [] }
    return images.compactMap {
      guard case .integer(let columns)? = $0["columns"], case .integer(let rows)? = $0["rows"],
        (1...longest).contains(columns), (1...longest).contains(rows)
      else { return nil }
      return PatchGrid(columns: columns, rows: rows)
    }
  }
}

/// What a model case says of its own judging. Cases.md, compare.
struct ModelCaseLimits: Sendable {
  /// The rows that the case keeps of a tap, if not all.
  let rows: [String: [Int]]
  private let compare: JSON
  private let witnesses: [JSON]

  init(_ json: JSON) {
    var rows: [String: [Int]] = [:]
    if case .object(let members)? = json["expect"]?["rows"] {
      for member in members { rows[member.key] = member.value.integers }
    }
    self.rows = rows
    compare = json["compare"] ?? .null
    if case .array(let values)? = json["witnesses"] { witnesses = values } else { witnesses = [] }
  }

  /// The limit of a tap in an arithmetic: one for all, or a multiple of the distance that a witness
  /// has there; nil where the case has none.
  func limit(_ tap: String, _ arithmetic: Arithmetic) -> DistanceLimit? {
    let limits = compare[arithmetic.rawValue]
    if let relF = limits?["relF"]?.asDouble { return DistanceLimit(wholeRelF: relF) }
    guard let times = limits?["times_witness"]?.asDouble else { return nil }
    let witness = witnesses.first { $0["dtype"] == .string(arithmetic.rawValue) }
    return witness?["distance"]?[tap]?.asDouble.map { DistanceLimit(wholeRelF: times * $0) }
  }
}

extension JSON {
  fileprivate var asDouble: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }
}
