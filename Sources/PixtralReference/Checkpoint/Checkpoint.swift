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
  private let used = UsedTensors()

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
    warnings = Self.warnings(of: parameters.unknownKeys, parametersFile)
    let (files, index) = try Self.openFiles(folder, names)
    self.files = files
    paths = [parametersFile] + (index.map { [$0.path] } ?? []) + files.map(\.file.path)

    var found: [String: StoredTensor] = [:]
    for file in files {
      for tensor in file.tensors {
        guard found[tensor.name] == nil else {
          throw InputError(
            .wrongTensors, "\(file.file.path), tensor \(tensor.name)", expected: "each tensor once",
            found: "it in another file too")
        }
        found[tensor.name] = try StoredTensor(tensor, of: file.file)
      }
    }
    if let index { try Self.check(files, against: index) }
    tensorsByName = try Self.check(found, parameters, folder)
  }

  /// A line for each key that is ignored, for the first twenty.
  private static func warnings(of unknownKeys: [String], _ place: String) -> [String] {
    let shown = unknownKeys.prefix(20).map { "unknown key \(onOneLine(shortened($0, to: 200))), ignored" }
    let rest = unknownKeys.count - shown.count
    return (shown + (rest > 0 ? ["\(rest) more unknown keys, ignored"] : [])).map {
      "\(onOneLine(place)): \($0)"
    }
  }

  /// The tensor of this name, which the checks on opening have made sure of.
  func tensor(_ name: String) -> StoredTensor {
    used.add(name)
    return known(name)
  }

  private func known(_ name: String) -> StoredTensor {
    guard let tensor = tensorsByName[name] else {
      preconditionFailure("no tensor \(name) in the table of tensors")
    }
    return tensor
  }

  /// Tensors in the order in which the model uses them.
  package var tensors: [StoredTensor] { parameters.tensors.map { known($0.name) } }

  /// The names of the tensors that the runs so far have used, in the order of their first use.
  var usedTensors: [String] { used.names }

  /// SHA-256 of what the runs so far have used of the checkpoint: the parameters written anew as
  /// JSON, then of every tensor used, in the order of Model.md 2, a line with name, dtype and shape,
  /// and its bytes. Of a seeded checkpoint, that of name and parameters. Docs/Trace.md.
  ///
  /// - progress: told the name of each tensor before its bytes are read.
  package func digest(progress: (String) -> Void = { _ in }) -> String {
    let hash = SHA256()
    hash.update(Array((files.isEmpty ? name : "").utf8))
    hash.update(Array(parameters.json.text().utf8))
    let used = Set(usedTensors)
    for tensor in tensors where used.contains(tensor.name) {
      guard case .mapped(let file, let bytes) = tensor.source else { continue }
      progress(tensor.name)
      hash.update(Array("\(tensor.name) \(tensor.dtype.rawValue) \(tensor.shape)\n".utf8))
      let step = 1 << 24
      for start in stride(from: bytes.lowerBound, to: bytes.upperBound, by: step) {
        let range = start..<min(start + step, bytes.upperBound)
        hash.update(UnsafeRawBufferPointer(rebasing: file.bytes[range]))
        file.forget(range)
      }
    }
    return hash.hexDigest()
  }

  /// The safetensors files of a folder, and the index that names them, if there is one.
  private static func openFiles(_ folder: String, _ names: [String]) throws -> ([Safetensors], ShardIndex?) {
    if names.contains(ShardIndex.fileName) {
      let index = try ShardIndex(folder: folder, names)
      return (try index.files.map { try Safetensors("\(folder)/\($0)") }, index)
    }
    guard names.contains("consolidated.safetensors") else {
      throw InputError(
        .wrongTensors, folder, expected: "consolidated.safetensors, or shards with \(ShardIndex.fileName)",
        found: "neither")
    }
    return ([try Safetensors("\(folder)/consolidated.safetensors")], nil)
  }

  /// Makes sure that no file of the checkpoint has become shorter while it was read.
  ///
  /// - Throws: `InputError` of kind `unreadableFile`.
  package func checkWhole() throws { for file in files { try file.file.checkWhole() } }

  /// Makes sure that every tensor is in the file where the index has it.
  private static func check(_ files: [Safetensors], against index: ShardIndex) throws {
    // The number in `files`, until the index has named the tensor.
    var unnamed: [String: Int] = [:]
    for (number, file) in files.enumerated() {
      for tensor in file.tensors { unnamed[tensor.name] = number }
    }
    try index.visit { tensor, file in
      guard let number = unnamed.removeValue(forKey: tensor) else {
        throw InputError(
          .wrongTensors, "\(index.path), tensor \(tensor)", expected: "it in \(file)", found: "no such tensor"
        )
      }
      guard index.files[number] == file else {
        throw InputError(
          .wrongTensors, "\(files[number].file.path), tensor \(tensor)", expected: "to be in \(file)",
          found: "it here")
      }
    }
    if let (tensor, number) = unnamed.min(by: { $0.key < $1.key }) {
      throw InputError(
        .wrongTensors, "\(files[number].file.path), tensor \(tensor)",
        expected: "to be in no file, for the index does not name it", found: "it here")
    }
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
