import PixtralStorage

/// A model's parameters and weights, checked: every tensor there once with its shape, nothing
/// else.
public struct Checkpoint: Sendable {
  /// `seeded:NAME`, or the name of the folder.
  public let name: String
  /// The hyper-parameters.
  public let parameters: Parameters
  /// Safetensors files, in the order of their names; none for a seeded checkpoint.
  package let files: [Safetensors]
  /// Every file that was read for it; none for a seeded checkpoint.
  package let paths: [String]
  /// Things worth a word on stderr.
  public let warnings: [String]
  private let tensorsByName: [String: StoredTensor]

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
        .wrongParameters, "checkpoint \(name)",
        expected: SeededModel.all.keys.sorted().joined(separator: " or "), found: name)
    }
    self.name = name
    self.parameters = parameters
    files = []
    paths = []
    warnings = []
    tensorsByName = Dictionary(
      uniqueKeysWithValues: parameters.tensors.map { tensor in
        let values = SeededValues(
          seed: SeededModel.seed, name: tensor.name, offset: tensor.seededOffset, scale: tensor.seededScale)
        return (
          tensor.name,
          StoredTensor(name: tensor.name, dtype: .bf16, shape: tensor.shape, source: .seeded(values))
        )
      })
  }

  private init(folder: String) throws {
    guard let names = fileNames(in: folder) else {
      throw InputError(
        .unreadableFile, folder,
        expected: "a folder with params.json and consolidated.safetensors, or seeded:tiny",
        found: "no such folder")
    }
    guard names.contains("params.json") else {
      let hint = names.contains("config.json") ? "config.json, the Hugging Face layout" : "no params.json"
      throw InputError(
        .wrongParameters, folder, expected: "params.json", found: hint,
        advice: "give a checkpoint in Mistral's layout")
    }
    name = folder.split(separator: "/").last.map(String.init) ?? folder
    let parametersFile = "\(folder)/params.json"
    parameters = try Parameters(JSON(file: parametersFile), place: parametersFile)
    warnings = parameters.unknownKeys.map { "\(parametersFile): unknown key \($0), ignored" }
    let (files, index) = try Self.openFiles(folder, names)
    self.files = files
    paths = [parametersFile] + (index == nil ? [] : ["\(folder)/\(Self.indexName)"]) + files.map(\.file.path)

    var found: [String: StoredTensor] = [:]
    for file in files {
      for tensor in file.tensors {
        func refuse(_ expected: String, _ what: String, _ advice: String = "") -> InputError {
          InputError(
            .wrongTensors, "\(file.file.path), tensor \(tensor.name)", expected: expected, found: what,
            advice: advice)
        }
        if let index, index[tensor.name] != file.file.path.split(separator: "/").last.map(String.init) {
          throw refuse(
            "to be in \(index[tensor.name] ?? "no file, for the index does not name it")", "it here")
        }
        guard found[tensor.name] == nil else { throw refuse("each tensor once", "it in another file too") }
        found[tensor.name] = try StoredTensor(tensor, of: file.file)
      }
    }
    tensorsByName = try Self.check(found, parameters, folder)
    if let extra = index?.keys.sorted().first(where: { found[$0] == nil }) {
      throw InputError(
        .wrongTensors, "\(folder), tensor \(extra)", expected: "it in the file that the index names",
        found: "none")
    }
  }

  /// The tensor of this name, which the checks on opening have made sure of.
  func tensor(_ name: String) -> StoredTensor {
    guard let tensor = tensorsByName[name] else {
      preconditionFailure("no tensor \(name) in the table of tensors")
    }
    return tensor
  }

  /// Tensors in the order in which the model uses them.
  package var tensors: [StoredTensor] { parameters.tensors.map { tensor($0.name) } }

  /// SHA-256 of the parameters written anew as JSON, and of every safetensors file, one after another; of
  /// name and parameters for a seeded checkpoint.
  package func digest() -> String {
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

  private static let indexName = "consolidated.safetensors.index.json"

  /// The safetensors files of a folder, and which file the index says holds which tensor.
  private static func openFiles(_ folder: String, _ names: [String]) throws -> (
    [Safetensors], [String: String]?
  ) {
    if names.contains(indexName) {
      let place = "\(folder)/\(indexName)"
      guard case .object(let members)? = try JSON(file: place)["weight_map"] else {
        throw InputError(
          .wrongTensors, place, expected: "an object weight_map from tensor names to files", found: "none")
      }
      var index: [String: String] = [:]
      for member in members {
        guard case .string(let file) = member.value, !file.contains("/") else {
          throw InputError(
            .wrongTensors, "\(place), \(member.key)", expected: "the name of a file beside it",
            found: member.value.text())
        }
        index[member.key] = file
      }
      return (try Set(index.values).sorted().map { try Safetensors("\(folder)/\($0)") }, index)
    }
    guard names.contains("consolidated.safetensors") else {
      throw InputError(
        .wrongTensors, folder, expected: "consolidated.safetensors, or shards with \(indexName)",
        found: "neither")
    }
    return ([try Safetensors("\(folder)/consolidated.safetensors")], nil)
  }

  private static func check(
    _ found: [String: StoredTensor], _ parameters: Parameters, _ place: String
  ) throws -> [String: StoredTensor] {
    let expected = parameters.tensors
    let names = Set(expected.map(\.name))
    for tensor in expected {
      guard let stored = found[tensor.name] else {
        let advice =
          tensor.name.hasSuffix(".bias") ? "params.json without adapter_bias: false promises it" : ""
        throw InputError(
          .wrongTensors, "\(place), tensor \(tensor.name)", expected: "\(tensor.shape)",
          found: "no such tensor", advice: advice)
      }
      guard stored.shape == tensor.shape else {
        let transposed = stored.shape == tensor.shape.reversed()
        throw InputError(
          .wrongTensors, "\(place), tensor \(tensor.name)", expected: "\(tensor.shape)",
          found: "\(stored.shape)",
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
