import PixtralStorage

/// Whether one checkpoint is a faithful conversion of another: across layouts and dtypes, parameter by
/// parameter and tensor by tensor.
///
/// Nothing of a tensor is kept in memory but a few blocks, and numbers for its rows.
package struct Conversion: Sendable {
  package let original: String
  package let converted: String
  package let parameters: [ParameterPair]
  /// Keys that make either side another model, as sentences.
  package let refusals: [InputError]
  package private(set) var tensors: [TensorReport] = []

  private let sides: (original: ConversionSide, converted: ConversionSide)

  /// Opens both sides: `seeded:NAME` or a folder in either layout, whether it makes a Pixtral or not.
  ///
  /// - Throws: `InputError` for what cannot be read.
  package init(original: String, converted: String) throws {
    let sides = (try ConversionSide(original), try ConversionSide(converted))
    self.sides = sides
    (self.original, self.converted) = (original, converted)
    parameters = parameterPairs(sides.0, sides.1)
    refusals = sides.0.refusals + sides.1.refusals
  }

  /// Compares every tensor, those of ORIGINAL in the order of the model, then what CONVERTED has beside.
  ///
  /// - progress: told the name of a tensor, and how many values of all have been read.
  /// - Throws: `InputError` if a file became shorter.
  package mutating func compareTensors(progress: (_ name: String, _ done: Int, _ of: Int) -> Void) throws {
    let (original, converted) = sides
    let judge = TensorJudge(original, converted)
    let all = original.inOrder.reduce(0) { $0 + $1.rows * $1.columns }
    var done = 0
    for tensor in original.inOrder {
      progress(tensor.name, done, all)
      tensors.append(
        TensorReport(
          name: tensor.name, storedName: converted.storedNames[tensor.name],
          verdict: converted.tensors[tensor.name].map { judge.verdict(tensor, $0) } ?? .missing))
      done += tensor.rows * tensor.columns
      // Pieces of rows leave pages behind.
      tensor.forget()
      converted.tensors[tensor.name]?.forget()
    }
    for tensor in converted.inOrder where original.tensors[tensor.name] == nil {
      tensors.append(
        TensorReport(
          name: tensor.name, storedName: converted.storedNames[tensor.name],
          verdict: judge.source(of: tensor).map(TensorVerdict.swapped) ?? .extra))
    }
    for file in original.files + converted.files { try file.file.checkWhole() }
  }

  package var isFaithful: Bool {
    refusals.isEmpty && parameters.allSatisfy(\.agrees) && tensors.allSatisfy(\.verdict.isFaithful)
  }

  package var json: JSON {
    var counts: [(String, Int)] = []
    for tensor in tensors {
      let word = tensor.verdict.word
      if let n = counts.firstIndex(where: { $0.0 == word }) {
        counts[n].1 += 1
      } else {
        counts.append((word, 1))
      }
    }
    return [
      "original": .string(original), "converted": .string(converted), "faithful": .bool(isFaithful),
      "parameters": .array(parameters.map(\.json)),
      "refused": .array(refusals.map { .string("\($0)") }),
      "counts": .object(counts.map { JSON.Member(key: $0.0, value: .integer($0.1)) }),
      "tensors": .array(tensors.map(\.json)),
    ]
  }
}

/// What became of one tensor.
package struct TensorReport: Sendable {
  /// In Mistral's layout.
  package let name: String
  /// In CONVERTED, where that is another.
  package let storedName: String?
  package let verdict: TensorVerdict

  package var json: JSON {
    [
      "name": .string(name), "converted_name": storedName.map(JSON.string) ?? .string(name),
      "verdict": .string(verdict.word), "detail": .string(verdict.detail),
    ]
  }
}

/// One of the two checkpoints, as it is found.
struct ConversionSide: Sendable {
  let layout: CheckpointLayout?
  let parameters: Parameters
  let refusals: [InputError]
  let tensors: [String: StoredTensor]
  let storedNames: [String: String]
  let inOrder: [StoredTensor]
  let files: [Safetensors]

  init(_ argument: String) throws {
    if argument.hasPrefix("seeded:") {
      let checkpoint = try Checkpoint(argument)
      (layout, parameters, refusals) = (nil, checkpoint.parameters, [])
      inOrder = checkpoint.tensors
      tensors = Dictionary(uniqueKeysWithValues: inOrder.map { ($0.name, $0) })
      (storedNames, files) = ([:], [])
    } else {
      let folder = try CheckpointFolder(argument)
      (layout, parameters) = (folder.layout, folder.parametersFile.parameters)
      refusals = folder.parametersFile.refusals
      (tensors, storedNames, inOrder) = (folder.tensors, folder.storedNames, folder.inOrder)
      files = folder.files
      guard !inOrder.isEmpty else {
        throw InputError(
          .wrongTensors, argument, expected: "a checkpoint with tensors", found: "none",
          advice: "are the weights still to be downloaded?")
      }
    }
  }
}
