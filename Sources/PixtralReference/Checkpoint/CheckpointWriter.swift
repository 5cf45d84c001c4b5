import PixtralStorage

/// Writes a seeded checkpoint out for other runtimes, with the tokenizer and every key that they
/// ask for.
///
/// A checkpoint that this has written is replaced, when the new one is whole, and its files that do
/// not belong to the new one go. Where anything else has one of the names, nothing is written.
///
/// - shardBytes: a file is not begun beyond this size; with more than one file there is an index.
/// - tokenizer: the model file to put beside the weights.
/// - progress: told each tensor's name before it is written.
/// - Throws: `InputError`; then nothing of the checkpoint is left.
package func writeCheckpoint(
  _ checkpoint: Checkpoint, layout: CheckpointLayout, to path: String, shardBytes: Int, tokenizer: String,
  progress: (String) -> Void = { _ in }
) throws {
  precondition(
    checkpoint.tensors.allSatisfy { $0.dtype == .bf16 }, "only bfloat16 is written without rounding")
  let shards = split(checkpoint.tensors, shardBytes)
  let shardNames = names(ofShards: shards.count, layout)
  var files =
    try layout == .mistral
    ? checkpoint.mistralFiles(tokenizer: tokenizer) : checkpoint.huggingFaceFiles(tokenizer: tokenizer)
  if shards.count > 1 { files.insert(index(of: shards, shardNames, layout), at: 0) }

  // Everything is begun, with its room, before the first tensor is computed. The last file, params.json
  // or config.json, makes the folder a checkpoint.
  let folder = try OutputFolder(path, sparing: [tokenizer])
  let writers = try zip(shards, shardNames).map { tensors, name in
    try SafetensorsWriter(entries(tensors, layout), metadata: layout.metadata) {
      try folder.newFile(name, room: $0)
    }
  }
  for file in files { try folder.newFile(file.name, room: file.bytes.count).write(file.bytes) }
  // Not before: another run may have ended meanwhile.
  for name in try outdatedFiles(in: path, layout, newNames: shardNames + files.map(\.name)) {
    try folder.outdate(name)
  }

  for (tensors, writer) in zip(shards, writers) {
    for tensor in tensors {
      progress(tensor.name)
      try write(
        tensor, to: writer,
        rotaryHeads: layout == .hf ? checkpoint.parameters.rotaryHeads(of: tensor.name) : nil)
    }
    try writer.complete()
  }
  try folder.finish()
}

extension CheckpointLayout {
  /// The header's `__metadata__`: what transformers asks for, and whose work the file is.
  fileprivate var metadata: [(String, String)] {
    (self == .hf ? [("format", "pt")] : []) + [("writer", writerName)]
  }
}

private let writerName = "pixtral-ref checkpoint write"

private func names(ofShards count: Int, _ layout: CheckpointLayout) -> [String] {
  if count == 1 { return ["\(layout.stem).safetensors"] }
  return (1...count).map { "\(layout.stem)-\(padded($0))-of-\(padded(count)).safetensors" }
}

private func entries(_ tensors: [StoredTensor], _ layout: CheckpointLayout) -> [SafetensorsWriter.Entry] {
  tensors.map {
    SafetensorsWriter.Entry(
      name: layout == .mistral ? $0.name : huggingFaceName($0.name), dtype: .bf16, shape: $0.shape)
  }
}

/// Which tensor is in which file.
private func index(
  of shards: [[StoredTensor]], _ names: [String], _ layout: CheckpointLayout
) -> CheckpointFile {
  let bytes = shards.joined().reduce(0) { $0 + $1.rows * $1.columns * 2 }
  let members = zip(shards, names).flatMap { tensors, name in
    entries(tensors, layout).map { JSON.Member(key: $0.name, value: .string(name)) }
  }
  return CheckpointFile(
    layout.indexName, ["metadata": ["total_size": .integer(bytes)], "weight_map": .object(members)])
}

/// Files of an older checkpoint of the layout that do not belong to the new one, and would be
/// believed beside it.
///
/// - Throws: `InputError` of kind `unwritable` if the folder holds weights that this program has not
///   written, or one of the names without any weights of ours.
private func outdatedFiles(
  in folder: String, _ layout: CheckpointLayout, newNames: [String]
) throws -> [String] {
  let there = fileNames(in: folder) ?? []
  let weights = there.filter { name in CheckpointLayout.allCases.contains { isWeights(name, of: $0) } }
  let foreign = weights.first {
    (try? Safetensors("\(folder)/\($0)"))?.metadata["writer"] != writerName
  }
  let taken = there.first { newNames.contains($0) || $0 == layout.indexName }
  if let found = foreign ?? (weights.isEmpty ? taken : nil) {
    throw InputError(
      .unwritable, folder,
      expected: "a folder without a checkpoint, or with one that this command has written",
      found: "\(found) of other origin", advice: "choose another folder")
  }
  return there.filter { (isWeights($0, of: layout) || $0 == layout.indexName) && !newNames.contains($0) }
}

/// Whether a name is one that this program gives to weights: `STEM.safetensors` or
/// `STEM-00001-of-00002.safetensors`.
private func isWeights(_ name: String, of layout: CheckpointLayout) -> Bool {
  let digits = "[0-9][0-9][0-9][0-9][0-9]"
  return name == "\(layout.stem).safetensors"
    || name.matches(glob: "\(layout.stem)-\(digits)-of-\(digits).safetensors")
}

/// A file of a checkpoint that holds no tensors.
struct CheckpointFile {
  let name: String
  let bytes: [UInt8]

  init(_ name: String, _ bytes: [UInt8]) { (self.name, self.bytes) = (name, bytes) }

  init(_ name: String, _ text: String) { self.init(name, Array(text.utf8)) }

  init(_ name: String, _ json: JSON) { self.init(name, json.file) }

  /// - path: the file whose bytes it has.
  init(_ name: String, copyOf path: String) throws {
    self.init(name, try MappedFile(path).withBytes { Array($0) })
  }
}

extension Checkpoint {
  /// What mistral-common, mistral_inference and vLLM look for. params.json, which makes the folder a
  /// checkpoint, comes last.
  fileprivate func mistralFiles(tokenizer: String) throws -> [CheckpointFile] {
    [
      try CheckpointFile("tokenizer.model.v7m1", copyOf: tokenizer),
      CheckpointFile("params.json", parameters.json),
    ]
  }
}

/// Tensors in files of at most `shardBytes`, at least one tensor a file.
private func split(_ tensors: [StoredTensor], _ shardBytes: Int) -> [[StoredTensor]] {
  var shards: [[StoredTensor]] = []
  var room = 0
  for tensor in tensors {
    let bytes = tensor.rows * tensor.columns * 2
    if shards.isEmpty || bytes > room {
      shards.append([])
      room = shardBytes
    }
    shards[shards.count - 1].append(tensor)
    room -= bytes
  }
  return shards
}

private func padded(_ number: Int) -> String { String(String(100_000 + number).dropFirst()) }

/// Writes a tensor's bfloat16 values, which widening has left exact, a block of rows at a time;
/// rotary rows in the other order where heads are given.
private func write(_ tensor: StoredTensor, to writer: SafetensorsWriter, rotaryHeads: Int?) throws {
  let columns = tensor.columns
  let headRows = rotaryHeads.map { tensor.rows / $0 }
  // Whole heads, so that a permutation stays within its block.
  let unit = headRows ?? 1
  let blockRows = max(unit, (1 << 22) / columns / unit * unit)
  for start in stride(from: 0, to: tensor.rows, by: blockRows) {
    let rows = start..<min(start + blockRows, tensor.rows)
    let block: Matrix<Float> = tensor.rows(rows)
    var bits = [UInt16](repeating: 0, count: rows.count * columns)
    for row in 0..<rows.count {
      let source = headRows.map { halfSplitRow(row, headRows: $0) } ?? row
      for column in 0..<columns {
        bits[row * columns + column] = UInt16(block[source, column].bitPattern >> 16)
      }
    }
    try bits.withUnsafeBytes { try writer.write($0) }
  }
}
