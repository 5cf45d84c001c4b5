import PixtralStorage

/// What a checkpoint holds, and what is doubtful in it.
package struct Inspection {
  private let name: String
  private let folder: CheckpointFolder?
  private let parameters: Parameters
  /// In the order of the model; what is no tensor of it comes last.
  package let tensors: [StoredTensor]
  package let warnings: [String]
  /// Why it cannot be run; nil if it can.
  package let refusal: InputError?
  private var values: [TensorValues] = []
  private var doubts: [Doubt] = []

  /// Opens `seeded:NAME` or a folder, whether it makes a Pixtral or not.
  ///
  /// - Throws: `InputError` for what cannot be read.
  package init(_ argument: String) throws {
    guard !argument.hasPrefix("seeded:") else {
      let checkpoint = try Checkpoint(argument)
      (name, folder, refusal) = (checkpoint.name, nil, nil)
      (parameters, tensors, warnings) = (checkpoint.parameters, checkpoint.tensors, [])
      return
    }
    let folder = try CheckpointFolder(argument)
    self.folder = folder
    (name, parameters, warnings) = (folder.name, folder.parametersFile.parameters, folder.warnings)
    do {
      _ = try Checkpoint(folder)
      refusal = nil
    } catch let error as InputError { refusal = error }
    tensors = folder.inOrder
    doubts = folder.parametersFile.doubts + storedDoubts
  }

  /// Reads every value.
  ///
  /// - progress: told the name of a tensor, and how many values of all have been read.
  /// - Throws: `InputError` if a file became shorter.
  package mutating func readValues(progress: (_ name: String, _ done: Int, _ of: Int) -> Void) throws {
    let all = tensors.reduce(0) { $0 + $1.rows * $1.columns }
    var done = 0
    for tensor in tensors {
      values.append(TensorValues(tensor) { progress(tensor.name, done + $0, all) })
      done += tensor.rows * tensor.columns
    }
    for file in folder?.files ?? [] { try file.file.checkWhole() }
    doubts += valueDoubts
  }

  /// Dtypes in which something may have been lost.
  private var storedDoubts: [Doubt] {
    let halves = tensors.filter { $0.dtype == .f16 }
    guard let first = halves.first else { return [] }
    return [
      Doubt(
        key: "\(first.name)", found: .string(first.dtype.rawValue), expected: .string(DType.bf16.rawValue),
        why: "weights are published in bfloat16; beyond 65504 float16 has infinity, and below 6e-8 zero "
          + "(\(halves.count) such tensors)")
    ]
  }

  private var valueDoubts: [Doubt] {
    var doubts: [Doubt] = []
    for (tensor, values) in zip(tensors, values) {
      let statistics = values.statistics
      if statistics.nonFinite > 0 {
        doubts.append(
          Doubt(
            key: tensor.name, found: .integer(statistics.nonFinite), expected: .integer(0),
            why: "so many of its values are infinite or no numbers"))
      } else if statistics.zeros == statistics.count {
        doubts.append(
          Doubt(key: tensor.name, found: .number(1), expected: .number(0), why: "all of its values are 0"))
      }
    }
    let hashes = Dictionary(zip(tensors.map(\.name), values.map(\.sha256)), uniquingKeysWith: { $1 })
    if let head = hashes["output.weight"], head == hashes["tok_embeddings.weight"] {
      doubts.append(
        Doubt(
          key: "output.weight", found: .string(head), expected: .null,
          why: "it is tok_embeddings.weight: Pixtral's output head is not tied to the embeddings"))
    }
    return doubts
  }

  package var json: JSON {
    var valuesByType: [String: Int] = [:]
    for tensor in tensors { valuesByType[tensor.dtype.rawValue, default: 0] += tensor.rows * tensor.columns }
    return [
      "name": .string(name), "layout": .string(folder?.layout.rawValue ?? "seeded"),
      "parameters": parameters.json,
      "doubts": .array(doubts.map(\.json)),
      "refused": refusal.map { .string("\($0)") } ?? .null,
      "values": .integer(valuesByType.values.reduce(0, +)),
      "values_by_dtype": .object(
        valuesByType.sorted { $0.key < $1.key }.map { JSON.Member(key: $0.key, value: .integer($0.value)) }),
      "files": .array(
        (folder?.files ?? []).map {
          [
            "name": .string(fileName(of: $0.file.path)), "bytes": .integer($0.file.bytes.count),
            "tensors": .integer($0.tensors.count),
          ]
        }),
      "warnings": .array(warnings.map(JSON.string)),
      "tensors": .array(tensors.indices.map(describe)),
    ]
  }

  private func describe(_ n: Int) -> JSON {
    let tensor = tensors[n]
    var members = [
      JSON.Member(key: "name", value: .string(tensor.name)),
      JSON.Member(key: "dtype", value: .string(tensor.dtype.rawValue)),
      JSON.Member(key: "shape", value: .array(tensor.shape.map(JSON.integer))),
    ]
    if let stored = folder?.storedNames[tensor.name] {
      members.insert(JSON.Member(key: "stored_name", value: .string(stored)), at: 1)
    }
    return .object(members + (values.isEmpty ? [] : values[n].members))
  }
}

extension CheckpointFolder {
  /// Its tensors in the order of the model; then what is no tensor of it, by name.
  var inOrder: [StoredTensor] {
    let names = parametersFile.parameters.tensors.map(\.name)
    let known = Set(names)
    let others = tensors.keys.filter { !known.contains($0) }.sorted()
    return (names + others).compactMap { tensors[$0] }
  }
}
