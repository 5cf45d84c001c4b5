import PixtralImage
import PixtralStorage

/// The parameters and tensors of a step, checked as they are read: whatever a session sends, nothing
/// behind this crashes.
struct StepInputs {
  private var parameters: ParameterSection
  private let path: String
  private let tensors: [String: Safetensors.Tensor]
  private let file: MappedFile

  /// No matrix of a step has more values.
  private static let most = 1 << 28

  init(_ parameters: JSON, _ tensors: Safetensors) throws {
    self.parameters = try ParameterSection(parameters, "parameters")
    path = tensors.file.path
    file = tensors.file
    self.tensors = Dictionary(uniqueKeysWithValues: tensors.tensors.map { ($0.name, $0) })
  }
}

// MARK: - Parameters

extension StepInputs {
  mutating func count(_ key: String) throws -> Int { try parameters.count(key) }
  mutating func positive(_ key: String) throws -> Double { try parameters.positive(key) }

  /// Any integer.
  mutating func integer(_ key: String) throws -> Int {
    guard case .integer(let number)? = parameters.optional(key) else {
      throw parameters.wrong(key, "an integer", found(key))
    }
    return number
  }

  mutating func flag(_ key: String) throws -> Bool {
    guard case .bool(let flag)? = parameters.optional(key) else {
      throw parameters.wrong(key, "true or false", found(key))
    }
    return flag
  }

  /// `heads`, `kv_heads` and `head_dim`.
  ///
  /// - shared: whether there may be fewer key-value heads; else there are as many.
  /// - rotated: whether columns are turned in pairs.
  mutating func heads(shared: Bool, rotated: Bool = true) throws -> Heads {
    let query = try count("heads")
    let keyValue = shared ? try count("kv_heads") : query
    let dim = try count("head_dim")
    guard query.isMultiple(of: keyValue) else {
      throw parameters.wrong("heads", "a multiple of the \(keyValue) kv_heads", "\(query)")
    }
    guard !rotated || dim.isMultiple(of: 2) else {
      throw parameters.wrong("head_dim", "an even number", "\(dim)")
    }
    return Heads(query: query, keyValue: keyValue, dim: dim)
  }

  /// An array of integers, one at least.
  mutating func integers(_ key: String, from least: Int, upTo most: Int) throws -> [Int] {
    guard let numbers = parameters.optional(key)?.integers, !numbers.isEmpty,
      numbers.allSatisfy({ (least...most).contains($0) })
    else { throw parameters.wrong(key, "an array of integers from \(least) to \(most)", found(key)) }
    return numbers
  }

  /// `grids`, whose patches are so many.
  mutating func grids(patches: Int) throws -> [PatchGrid] {
    guard case .array(let values)? = parameters.optional("grids"), !values.isEmpty else {
      throw parameters.wrong("grids", "an array of objects with columns and rows", found("grids"))
    }
    let grids = try values.map { value in
      var grid = try ParameterSection(value, "parameters, grids")
      return PatchGrid(columns: try grid.count("columns"), rows: try grid.count("rows"))
    }
    let total = grids.reduce(0) { $0 + $1.patches }
    guard total == patches else {
      throw parameters.wrong("grids", "\(patches) patches, as x has rows", "\(total)")
    }
    return grids
  }

  func wrong(_ key: String, _ expected: String, _ found: String) -> InputError {
    parameters.wrong(key, expected, found)
  }

  private mutating func found(_ key: String) -> String {
    parameters.optional(key).map { shortened($0.text(), to: 60) } ?? "no such key"
  }
}

// MARK: - Tensors

extension StepInputs {
  func has(_ name: String) -> Bool { tensors[name] != nil }

  /// A tensor of this shape; nil stands for any size but 0.
  func tensor(_ name: String, _ shape: [Int?]) throws -> StoredTensor {
    let expected = "[\(shape.map { $0.map(String.init) ?? "any" }.joined(separator: ", "))]"
    guard let tensor = tensors[name] else {
      throw InputError(.wrongTensors, "\(path), tensor \(name)", expected: expected, found: "no such tensor")
    }
    let stored = try StoredTensor(tensor, of: file)
    guard stored.shape.count == shape.count,
      zip(stored.shape, shape).allSatisfy({ $0 == $1 ?? $0 && $0 > 0 })
    else {
      throw InputError(
        .wrongTensors, "\(path), tensor \(name)", expected: expected, found: "\(stored.shape)")
    }
    return stored
  }

  /// An input: (rows, columns).
  func matrix<Scalar: BLASScalar>(_ name: String, rows: Int? = nil, columns: Int? = nil) throws
    -> Matrix<Scalar>
  {
    let tensor = try tensor(name, [rows, columns])
    return tensor.rows(0..<tensor.rows)
  }

  /// A layer's tensors, by their names. `width` is that of its input.
  func layer(width: Int, _ heads: Heads, rows: Int) throws -> (String) -> StoredTensor {
    let (queries, keys) = (heads.query * heads.dim, heads.keyValue * heads.dim)
    let hidden = try tensor("feed_forward.w1.weight", [nil, width]).rows
    for columns in [width, queries, hidden] { try check(rows, columns) }
    let shapes: [(String, [Int?])] = [
      ("attention_norm.weight", [width]), ("attention.wq.weight", [queries, width]),
      ("attention.wk.weight", [keys, width]), ("attention.wv.weight", [keys, width]),
      ("attention.wo.weight", [width, queries]), ("ffn_norm.weight", [width]),
      ("feed_forward.w1.weight", [hidden, width]), ("feed_forward.w3.weight", [hidden, width]),
      ("feed_forward.w2.weight", [width, hidden]),
    ]
    let tensors = Dictionary(uniqueKeysWithValues: try shapes.map { ($0, try tensor($0, $1)) })
    return { tensors[$0]! }
  }

  /// Makes sure that a matrix fits in memory.
  func check(_ rows: Int, _ columns: Int) throws {
    let (values, isTooLarge) = rows.multipliedReportingOverflow(by: columns)
    guard !isTooLarge, values <= Self.most else {
      throw InputError(
        .largeRun, path, expected: "at most \(Self.most) values in a matrix", found: "\(rows)×\(columns)")
    }
  }

  /// Makes sure that the file has not become shorter while it was read.
  func checkWhole() throws { try file.checkWhole() }
}
