/// A model's parameters and weights, checked: every tensor there once with its shape, nothing else.
public struct Checkpoint: Sendable {
  /// `seeded:NAME`, or the name of the folder.
  public let name: String
  public let parameters: Parameters
  /// Safetensors files, in the order of their names; none for a seeded checkpoint.
  public let files: [Safetensors]
  /// Things worth a word on stderr.
  public let warnings: [String]
  private let weights: [String: Weight]

  /// Opens `seeded:NAME` or a folder in Mistral's layout.
  ///
  /// - Throws: `InputError`; nothing has been computed by then.
  public init(_ argument: String) throws {
    if argument.hasPrefix("seeded:") {
      try self.init(seeded: argument)
    } else {
      try self.init(folder: argument)
    }
  }

  private init(seeded name: String) throws {
    guard let parameters = SeededModel.all[name] else {
      throw InputError(
        .wrongParameters, "checkpoint \(name)", expected: SeededModel.all.keys.sorted().joined(separator: " or "), found: name)
    }
    self.name = name
    self.parameters = parameters
    files = []
    warnings = []
    weights = Dictionary(
      uniqueKeysWithValues: parameters.tensors.map { tensor in
        let values = SeededValues(
          seed: SeededModel.seed, name: tensor.name, offset: tensor.seededOffset, scale: tensor.seededScale)
        return (tensor.name, Weight(name: tensor.name, element: .bf16, shape: tensor.shape, source: .seeded(values)))
      })
  }

  private init(folder: String) throws {
    guard let names = fileNames(in: folder) else {
      throw InputError(
        .unreadableFile, folder, expected: "a folder with params.json and consolidated.safetensors, or seeded:tiny",
        found: "no such folder")
    }
    guard names.contains("params.json") else {
      let hint = names.contains("config.json") ? "config.json, the Hugging Face layout" : "no params.json"
      throw InputError(
        .wrongParameters, folder, expected: "params.json", found: hint, advice: "give a checkpoint in Mistral's layout")
    }
    name = folder.split(separator: "/").last.map(String.init) ?? folder
    let parametersFile = "\(folder)/params.json"
    parameters = try Parameters(JSON(file: parametersFile), place: parametersFile)
    warnings = parameters.unknownKeys.map { "\(parametersFile): unknown key \($0), ignored" }
    let (files, index) = try Self.openFiles(folder, names)
    self.files = files

    var found: [String: Weight] = [:]
    for file in files {
      for tensor in file.tensors {
        func refuse(_ expected: String, _ what: String, _ advice: String = "") -> InputError {
          InputError(
            .wrongTensors, "\(file.file.path), tensor \(tensor.name)", expected: expected, found: what, advice: advice)
        }
        if let index, index[tensor.name] != file.file.path.split(separator: "/").last.map(String.init) {
          throw refuse("to be in \(index[tensor.name] ?? "no file, for the index does not name it")", "it here")
        }
        guard found[tensor.name] == nil else { throw refuse("each tensor once", "it in another file too") }
        found[tensor.name] = Weight(
          name: tensor.name, element: tensor.element, shape: tensor.shape, source: .mapped(file.file, tensor.range))
      }
    }
    weights = try Self.check(found, parameters, folder)
    if let extra = index?.keys.sorted().first(where: { found[$0] == nil }) {
      throw InputError(.wrongTensors, "\(folder), tensor \(extra)", expected: "it in the file that the index names", found: "none")
    }
  }

  /// The tensor of this name, which the checks on opening have made sure of.
  func weight(_ name: String) -> Weight {
    guard let weight = weights[name] else { preconditionFailure("no tensor \(name) in the table of tensors") }
    return weight
  }

  /// Tensors in the order in which the model uses them.
  public var tensors: [Weight] { parameters.tensors.map { weight($0.name) } }

  /// SHA-256 of `params.json` and every safetensors file, one after another; of the parameters for a seeded checkpoint.
  public func digest() -> String {
    let hash = SHA256()
    hash.update(Array((files.isEmpty ? name : "").utf8))
    hash.update(Array(parameters.json.text().utf8))
    for file in files {
      let step = 1 << 24
      for start in stride(from: 0, to: file.file.bytes.count, by: step) {
        let range = start..<min(start + step, file.file.bytes.count)
        hash.update(UnsafeRawBufferPointer(rebasing: file.file.bytes[range]))
        file.file.forget(range)
      }
    }
    return hash.hexDigest()
  }

  /// The safetensors files of a folder, and which file the index says holds which tensor.
  private static func openFiles(_ folder: String, _ names: [String]) throws -> ([Safetensors], [String: String]?) {
    let indexName = "consolidated.safetensors.index.json"
    if names.contains(indexName) {
      let place = "\(folder)/\(indexName)"
      guard case .object(let members)? = try JSON(file: place)["weight_map"] else {
        throw InputError(.wrongTensors, place, expected: "an object weight_map from tensor names to files", found: "none")
      }
      var index: [String: String] = [:]
      for member in members {
        guard case .string(let file) = member.value, !file.contains("/") else {
          throw InputError(
            .wrongTensors, "\(place), \(member.key)", expected: "the name of a file beside it", found: member.value.text())
        }
        index[member.key] = file
      }
      return (try Set(index.values).sorted().map { try Safetensors("\(folder)/\($0)") }, index)
    }
    guard names.contains("consolidated.safetensors") else {
      throw InputError(
        .wrongTensors, folder, expected: "consolidated.safetensors, or shards with \(indexName)", found: "neither")
    }
    return ([try Safetensors("\(folder)/consolidated.safetensors")], nil)
  }

  private static func check(
    _ found: [String: Weight], _ parameters: Parameters, _ place: String
  ) throws -> [String: Weight] {
    let expected = parameters.tensors
    let names = Set(expected.map(\.name))
    for tensor in expected {
      guard let weight = found[tensor.name] else {
        let advice = tensor.name.hasSuffix(".bias") ? "params.json without adapter_bias: false promises it" : ""
        throw InputError(
          .wrongTensors, "\(place), tensor \(tensor.name)", expected: "\(tensor.shape)", found: "no such tensor", advice: advice)
      }
      guard weight.shape == tensor.shape else {
        let transposed = weight.shape == tensor.shape.reversed()
        throw InputError(
          .wrongTensors, "\(place), tensor \(tensor.name)", expected: "\(tensor.shape)", found: "\(weight.shape)",
          advice: transposed ? "is it transposed?" : "does params.json belong to these weights?")
      }
    }
    if let extra = found.keys.filter({ !names.contains($0) }).min() {
      throw InputError(
        .wrongTensors, "\(place), tensor \(extra)", expected: "only tensors that params.json implies",
        found: "one that no step of the model uses")
    }
    return found
  }
}

/// Seeded models by name. Model.md 1 and 9.6.
enum SeededModel {
  static let seed = 2411

  static let all: [String: Parameters] = [
    "seeded:tiny": make(
      """
      {"dim": 80, "n_layers": 3, "head_dim": 20, "hidden_dim": 208, "n_heads": 6, "n_kv_heads": 2, "norm_eps": 1e-5,
       "vocab_size": 32768, "rope_theta": 1e6,
       "vision_encoder": {"hidden_size": 60, "num_channels": 3, "image_size": 1024, "patch_size": 16,
         "intermediate_size": 144, "num_hidden_layers": 2, "num_attention_heads": 5, "rope_theta": 1e4,
         "image_token_id": 10, "image_break_token_id": 14, "image_end_token_id": 15, "adapter_bias": false}}
      """),
    "seeded:pixtral-large": make(
      """
      {"dim": 12288, "n_layers": 88, "head_dim": 128, "hidden_dim": 28672, "n_heads": 96, "n_kv_heads": 8, "norm_eps": 1e-5,
       "vocab_size": 32768, "rope_theta": 1e6,
       "vision_encoder": {"hidden_size": 1408, "num_channels": 3, "image_size": 1024, "patch_size": 16,
         "intermediate_size": 6144, "num_hidden_layers": 40, "num_attention_heads": 16, "rope_theta": 1e4,
         "image_token_id": 10, "image_break_token_id": 14, "image_end_token_id": 15, "adapter_bias": false}}
      """),
  ]

  private static func make(_ text: String) -> Parameters {
    do {
      return try Parameters(JSON(parsing: text, place: "a seeded model"), place: "a seeded model")
    } catch {
      preconditionFailure("\(error)")
    }
  }
}
