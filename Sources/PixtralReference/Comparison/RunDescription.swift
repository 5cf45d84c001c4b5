import PixtralImage
import PixtralStorage

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
    if let format = json["format"], format != .string(TraceFolder.format) {
      throw InputError(
        .wrongTrace, "\(path), format", expected: "\"\(TraceFolder.format)\"", found: format.text(),
        advice: "compare it with the version that wrote it")
    }
    if case .string(let name)? = json["model"] { model = name }
    tokens = json["tokens"]?.integers ?? []
    grids = Self.grids(json["images"])
    parameters = try json["parameters"].map { try Parameters($0, place: "\(path), parameters") }
  }

  /// What the expectations of a case say.
  init(model: String, expect: JSON) throws {
    self.model = model
    parameters = try Checkpoint(model).parameters
    tokens = expect["tokens"]?.integers ?? []
    grids = Self.grids(expect["grids"])
  }

  /// How many rows a tap of the model has; nil if that is not known.
  func rows(of tap: String) -> Int? {
    if tap.hasPrefix("vision.") || tap.hasPrefix("adapter.") {
      return grids.isEmpty ? nil : grids.reduce(0) { $0 + $1.patches }
    }
    if tap.hasPrefix("decoder.") || tap == ModelTap.logits.rawValue {
      return tokens.isEmpty ? nil : tokens.count
    }
    return nil
  }

  /// In what another run is of another request; nil where nothing shows it.
  func difference(from other: RunDescription) -> String? {
    guard !tokens.isEmpty, !other.tokens.isEmpty else { return nil }
    if tokens.count != other.tokens.count {
      return "\(other.tokens.count) tokens instead of \(tokens.count)"
    }
    if let n = tokens.indices.first(where: { tokens[$0] != other.tokens[$0] }) {
      return "token \(n) is \(other.tokens[n]) instead of \(tokens[n])"
    }
    guard grids != other.grids else { return nil }
    return "the grids of the images are \(Self.text(other.grids)) instead of \(Self.text(grids))"
  }

  private static func text(_ grids: [PatchGrid]) -> String {
    let shown = grids.prefix(4).map { "\($0.rows)×\($0.columns)" } + (grids.count > 4 ? ["…"] : [])
    return shown.isEmpty ? "none" : shown.joined(separator: ", ")
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
