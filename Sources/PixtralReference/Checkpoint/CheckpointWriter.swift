import PixtralStorage

/// The two ways in which a Pixtral is stored.
package enum CheckpointLayout: String, Sendable, CaseIterable {
  /// `params.json` and `consolidated.safetensors`.
  case mistral
  /// `config.json` and `model.safetensors`, for transformers' LlavaForConditionalGeneration and
  /// what reads the same.
  case hf
}

/// Writes a seeded checkpoint out for other runtimes, with the tokenizer and every key that they
/// ask for.
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
  let files =
    try layout == .mistral
    ? checkpoint.mistralFiles(tokenizer: tokenizer) : checkpoint.huggingFaceFiles(tokenizer: tokenizer)
  let folder = try OutputFolder(path)
  var written: [String] = []
  do {
    let shards = split(checkpoint.tensors, shardBytes)
    let stem = layout == .mistral ? "consolidated" : "model"
    var index: [JSON.Member] = []
    for (n, tensors) in shards.enumerated() {
      let name =
        shards.count == 1
        ? "\(stem).safetensors" : "\(stem)-\(padded(n + 1))-of-\(padded(shards.count)).safetensors"
      let renamed = tensors.map { layout == .mistral ? $0.name : huggingFaceName($0.name) }
      let entries = zip(tensors, renamed).map {
        SafetensorsWriter.Entry(name: $1, dtype: .bf16, shape: $0.shape)
      }
      let writer = try SafetensorsWriter(
        "\(path)/\(name)", entries, metadata: layout == .hf ? [("format", "pt")] : [])
      do {
        for tensor in tensors {
          progress(tensor.name)
          try write(
            tensor, to: writer, rotaryHeads: layout == .hf ? checkpoint.rotaryHeads(of: tensor.name) : nil)
        }
        try writer.finish()
      } catch {
        writer.abandon()
        throw error
      }
      written.append(name)
      index += renamed.map { JSON.Member(key: $0, value: .string(name)) }
    }
    func add(_ file: CheckpointFile) throws {
      try file.bytes.withUnsafeBytes { try NewFile.write($0, to: "\(path)/\(file.name)") }
      written.append(file.name)
    }
    if shards.count > 1 {
      let bytes = checkpoint.tensors.reduce(0) { $0 + $1.rows * $1.columns * 2 }
      let json: JSON = ["metadata": ["total_size": .integer(bytes)], "weight_map": .object(index)]
      try add(CheckpointFile("\(stem).safetensors.index.json", json))
    }
    for file in files { try add(file) }
  } catch {
    for name in written { remove(file: "\(path)/\(name)") }
    folder.abandon()
    throw error
  }
}

/// A file of a checkpoint that holds no tensors.
struct CheckpointFile {
  let name: String
  let bytes: [UInt8]

  init(_ name: String, _ bytes: [UInt8]) { (self.name, self.bytes) = (name, bytes) }

  init(_ name: String, _ text: String) { self.init(name, Array(text.utf8)) }

  init(_ name: String, _ json: JSON) { self.init(name, "\(json.text(indented: true))\n") }

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

/// Which row of adjacent-pair weights stands at a row of half-split weights.
///
/// Mistral turns columns (2i, 2i+1) of a head together; Hugging Face turns (i, i + head_dim/2). So
/// within each head the even rows come first, then the odd ones. Heads are counted with the
/// tensor's own number of heads (D-k-permute).
func halfSplitRow(_ row: Int, headRows: Int) -> Int {
  let (head, within) = (row / headRows, row % headRows)
  let half = headRows / 2
  return head * headRows + (within < half ? 2 * within : 2 * (within - half) + 1)
}

extension Checkpoint {
  /// How many heads a tensor's rows are, if they are rotated; nil for every other tensor.
  fileprivate func rotaryHeads(of name: String) -> Int? {
    let isVision = name.hasPrefix("vision_encoder.")
    if name.hasSuffix(".attention.wq.weight") { return isVision ? parameters.vision.heads : parameters.heads }
    if name.hasSuffix(".attention.wk.weight") {
      return isVision ? parameters.vision.heads : parameters.keyValueHeads
    }
    return nil
  }
}
