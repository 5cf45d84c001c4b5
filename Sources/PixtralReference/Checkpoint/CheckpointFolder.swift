import PixtralStorage

/// A folder with a checkpoint of either layout: what it holds, whether it makes a Pixtral or not.
package struct CheckpointFolder: Sendable {
  /// The name of the folder.
  package let name: String
  package let path: String
  package let layout: CheckpointLayout
  package let parametersFile: ParametersFile
  /// Safetensors files, in the order of their names.
  package let files: [Safetensors]
  /// Every file that was read for it.
  let paths: [String]
  /// Things worth a word on stderr.
  package let warnings: [String]
  /// By their names in Mistral's layout, rotary rows in Mistral's order. What is no tensor of a Pixtral has its
  /// own name.
  let tensors: [String: StoredTensor]
  /// Their names in the file, by those of Mistral's layout.
  let storedNames: [String: String]

  /// - Throws: `InputError` for what cannot be read: parameters, an index, a file's structure, a dtype.
  package init(_ path: String) throws {
    self.path = path
    name = path.split(separator: "/").last.map(String.init) ?? path
    guard let names = fileNames(in: path) else { throw noFolder(path) }
    let (layout, note) = try chooseLayout(path, names)
    self.layout = layout

    let parametersPath = "\(path)/\(layout.parametersName)"
    try refuseQuantised(path, names, parametersPath)
    parametersFile = try ParametersFile(parametersPath, layout: layout)
    let (files, index) = try openWeights(path, names, layout)
    self.files = files
    paths = [parametersPath] + (index.map { [$0.path] } ?? []) + files.map(\.file.path)
    try refuseQuantised(path, files)

    var table = TensorsByName(layout, parametersFile.parameters)
    for file in files {
      for tensor in file.tensors { try table.add(tensor, of: file.file) }
    }
    if let index { try check(files, against: index) }
    (tensors, storedNames) = (table.tensors, table.storedNames)
    warnings = note + parametersFile.warnings + table.warnings.map { "\(path): \($0)" }
  }

  /// Makes sure that every tensor of the model is there with its shape, and nothing else.
  ///
  /// - Throws: `InputError` of kind `wrongTensors`.
  package func checkTensors() throws {
    let parametersName = layout.parametersName
    let expected = parametersFile.parameters.tensors
    let names = Set(expected.map(\.name))
    for tensor in expected {
      guard let stored = tensors[tensor.name] else {
        var advice = tensor.name.hasSuffix(".bias") ? "\(parametersName) promises it: \(layout.biasRule)" : ""
        if tensor.name == "output.weight" {
          advice = "an output head tied to the embeddings is another model's"
        }
        throw InputError(
          .wrongTensors, "\(path), tensor \(layout.name(of: tensor.name))", expected: "\(tensor.shape)",
          found: "no such tensor", advice: advice)
      }
      guard stored.shape == tensor.shape else {
        let transposed = stored.shape == tensor.shape.reversed()
        throw InputError(
          .wrongTensors, "\(path), tensor \(storedNames[tensor.name] ?? tensor.name)",
          expected: "\(tensor.shape)", found: "\(stored.shape)",
          advice: transposed ? "is it transposed?" : "does \(parametersName) belong to these weights?")
      }
    }
    if let extra = tensors.keys.filter({ !names.contains($0) }).min() {
      throw InputError(
        .wrongTensors, "\(path), tensor \(storedNames[extra] ?? extra)",
        expected: "only tensors that \(parametersName) implies", found: "one that no step of the model uses")
    }
  }
}

extension CheckpointLayout {
  /// A tensor's name, from that in Mistral's layout.
  func name(of tensor: String) -> String { self == .mistral ? tensor : huggingFaceName(tensor) }

  fileprivate var biasRule: String {
    self == .mistral
      ? "without adapter_bias: false there is one" : "without multimodal_projector_bias: false there is one"
  }
}

/// The tensors of a folder as they are found.
private struct TensorsByName {
  private(set) var tensors: [String: StoredTensor] = [:]
  private(set) var storedNames: [String: String] = [:]
  private var frequencies = 0
  private let layout: CheckpointLayout
  private let parameters: Parameters

  init(_ layout: CheckpointLayout, _ parameters: Parameters) {
    (self.layout, self.parameters) = (layout, parameters)
  }

  var warnings: [String] {
    frequencies == 0 ? [] : ["\(frequencies) tensors inv_freq, which follow from rope_theta, ignored"]
  }

  mutating func add(_ tensor: Safetensors.Tensor, of file: MappedFile) throws {
    if layout == .hf, isStoredFrequency(tensor.name) {
      frequencies += 1
      return
    }
    let name = layout == .hf ? mistralName(huggingFace: tensor.name) ?? tensor.name : tensor.name
    guard tensors[name] == nil else {
      let other = storedNames[name] ?? name
      throw InputError(
        .wrongTensors, "\(file.path), tensor \(tensor.name)", expected: "each tensor once",
        found: other == tensor.name ? "it in another file too" : "it as \(other) too")
    }
    let stored = try StoredTensor(tensor, of: file).named(name)
    let heads = layout == .hf ? parameters.rotaryHeads(of: name) : nil
    tensors[name] = heads.map { stored.asAdjacentPairs(heads: $0) } ?? stored
    if name != tensor.name { storedNames[name] = tensor.name }
  }
}

/// The layout that a folder has, and what to say about the other.
private func chooseLayout(
  _ folder: String, _ names: [String]
) throws -> (CheckpointLayout, notes: [String]) {
  let named = CheckpointLayout.allCases.filter { names.contains($0.parametersName) }
  let whole = named.filter { names.contains($0.weightsName) || names.contains($0.indexName) }
  guard let layout = whole.first ?? named.first else {
    throw InputError(
      .wrongParameters, folder, expected: "params.json or config.json",
      found: foreignWeights(names) ?? "neither",
      advice: foreignWeights(names) == nil ? "give a checkpoint in Mistral's or Hugging Face's layout" : "")
  }
  if whole.count > 1 {
    return (layout, ["\(folder): both layouts are there; Mistral's is read, and config.json is not"])
  }
  if named.count > 1, layout == .hf {
    return (layout, ["\(folder): params.json has no weights beside it; Hugging Face's layout is read"])
  }
  return (layout, [])
}

/// The safetensors files of a folder, and the index that names them, if there is one.
private func openWeights(
  _ folder: String, _ names: [String], _ layout: CheckpointLayout
) throws -> ([Safetensors], ShardIndex?) {
  if names.contains(layout.indexName) {
    let index = try ShardIndex(folder: folder, layout.indexName, names)
    // transformers would take the one file, and never look into the index.
    if layout == .hf, names.contains(layout.weightsName), !index.files.contains(layout.weightsName) {
      throw InputError(
        .wrongTensors, folder, expected: "\(layout.weightsName), or \(layout.indexName) with its files",
        found: "both", advice: "remove the ones that are out of date")
    }
    return (try index.files.map { try Safetensors("\(folder)/\($0)") }, index)
  }
  guard names.contains(layout.weightsName) else {
    let shards = names.filter { $0.matches(glob: "\(layout.stem)-*-of-*.safetensors") }
    let found = shards.isEmpty ? foreignWeights(names) ?? "neither" : "shards without their index"
    throw InputError(
      .wrongTensors, folder, expected: "\(layout.weightsName), or shards with \(layout.indexName)",
      found: found)
  }
  return ([try Safetensors("\(folder)/\(layout.weightsName)")], nil)
}

/// Makes sure that every tensor is in the file where the index has it.
private func check(_ files: [Safetensors], against index: ShardIndex) throws {
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
