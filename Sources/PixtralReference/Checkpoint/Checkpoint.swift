import PixtralStorage

/// A model's parameters and weights, checked: every tensor there once with its shape, nothing
/// else.
public struct Checkpoint: Sendable {
  /// `seeded:NAME`, or the name of the folder.
  public let name: String
  /// The hyper-parameters.
  public let parameters: Parameters
  /// nil for a seeded checkpoint.
  package let layout: CheckpointLayout?
  /// Safetensors files, in the order of their names; none for a seeded checkpoint.
  package let files: [Safetensors]
  /// Every file that was read for it; none for a seeded checkpoint.
  package let paths: [String]
  /// Things worth a word on stderr.
  public let warnings: [String]
  private let tensorsByName: [String: StoredTensor]
  private let used = UsedTensors()

  /// Opens `seeded:NAME` or a folder in either layout.
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
        .wrongParameters, "checkpoint \(name)", expected: SeededModel.names, found: name)
    }
    self.name = name
    self.parameters = parameters
    layout = nil
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

  private init(folder path: String) throws {
    try self.init(CheckpointFolder(path))
  }

  /// - Throws: `InputError` where a folder holds another model, or not each tensor once with its shape.
  package init(_ folder: CheckpointFolder) throws {
    name = folder.name
    parameters = try folder.parametersFile.checked()
    try folder.checkTensors()
    layout = folder.layout
    files = folder.files
    paths = folder.paths
    warnings = folder.warnings
    tensorsByName = folder.tensors
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
  /// and its bytes in the order of Mistral's layout. Of a seeded checkpoint, that of name and
  /// parameters. Docs/Trace.md.
  ///
  /// - seesImages: whether it is for a prompt with images; one without uses none of the tensors that
  ///   take them to the decoder, whatever it was run with.
  /// - progress: told the name of each tensor before its bytes are read.
  package func digest(seesImages: Bool = true, progress: (String) -> Void = { _ in }) -> String {
    digests(seeingImages: [seesImages], progress: progress)[seesImages]!
  }

  /// The same for prompts of both kinds, by whether they see images. Each tensor is read once.
  package func digests(
    seeingImages kinds: Set<Bool>, progress: (String) -> Void = { _ in }
  ) -> [Bool: String] {
    let seeing = SHA256()
    let blind = SHA256()
    for bytes in [Array((files.isEmpty ? name : "").utf8), Array(parameters.json.text().utf8)] {
      seeing.update(bytes)
      blind.update(bytes)
    }
    let used = Set(files.isEmpty ? [] : usedTensors)
    for tensor in tensors where used.contains(tensor.name) {
      let isSeen = kinds.contains(true)
      let isUsedBlind = kinds.contains(false) && !tensor.name.hasPrefix("vision_")
      guard isSeen || isUsedBlind else { continue }
      progress(tensor.name)
      let line = Array("\(tensor.name) \(tensor.dtype.rawValue) \(tensor.shape)\n".utf8)
      if isSeen { seeing.update(line) }
      if isUsedBlind { blind.update(line) }
      tensor.withBytes(0..<tensor.rows * tensor.columns) { bytes in
        if isSeen { seeing.update(bytes) }
        if isUsedBlind { blind.update(bytes) }
      }
    }
    return [true: seeing.hexDigest(), false: blind.hexDigest()].filter { kinds.contains($0.key) }
  }

  /// Makes sure that no file of the checkpoint has become shorter while it was read.
  ///
  /// - Throws: `InputError` of kind `unreadableFile`.
  package func checkWhole() throws { for file in files { try file.file.checkWhole() } }
}
