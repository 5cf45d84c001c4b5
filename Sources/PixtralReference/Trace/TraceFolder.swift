import PixtralStorage

/// A trace on disk: `trace.safetensors` with a matrix a tap, and `trace.json` that says what was
/// computed.
///
/// The second is written last and under another name until it is whole: a folder without
/// `trace.json` holds no trace.
package final class TraceFolder: TraceRecorder {
  package let path: String
  /// What the run is about, once it has begun.
  package private(set) var prompt: PromptShape?
  /// Statistics of the taps recorded so far, in order.
  package private(set) var statistics: [(tap: PlannedTap, statistics: TapStatistics)] = []
  /// The last row of logits, if the run came so far.
  package private(set) var lastLogits: [Double]?

  private let choose: ([PlannedTap]) throws -> TapChoice
  private let dtype: DType
  private let onFile: (String) -> Void
  private let progress: (String) -> Void
  private var output: Output?

  /// What is open while a run goes on.
  private struct Output {
    let choice: TapChoice
    let names: Set<String>
    let folder: OutputFolder
    let writer: SafetensorsWriter
  }

  /// Nothing is made until a run begins.
  ///
  /// - globs, until: as for `TapChoice`.
  /// - dtype: F32 or F64, the precision of the run.
  /// - onFile: told the name of the file that must go if the process is stopped.
  /// - progress: told the name of every tap as it is computed.
  package init(
    _ path: String, globs: [String] = [], until: String? = nil, dtype: DType,
    onFile: @escaping (String) -> Void = { _ in }, progress: @escaping (String) -> Void = { _ in }
  ) {
    self.path = path
    self.dtype = dtype
    self.onFile = onFile
    self.progress = progress
    choose = { try TapChoice(from: $0, globs: globs, until: until) }
  }

  /// Makes the folder if need be, and a file in it that is not a trace yet; an older trace in it
  /// goes.
  ///
  /// - Throws: `InputError` of kind `wrongTap` or `unwritable`.
  package func begin(_ prompt: PromptShape, taps: [PlannedTap]) throws {
    self.prompt = prompt
    let choice = try choose(taps)
    let folder = try OutputFolder(path)
    let entries = choice.recorded.map {
      // The pictures are float32 in either precision: they are inputs.
      let dtype = $0.name.hasPrefix("image.") ? DType.f32 : dtype
      return SafetensorsWriter.Entry(name: $0.name, dtype: dtype, shape: [$0.rows, $0.columns])
    }
    let written: String
    do {
      let file = "\(path)/trace.safetensors"
      onFile(NewFile.partialPath(of: file))
      let writer = try SafetensorsWriter(file, entries, metadata: [("format", "pixtral-ref trace 1")])
      written = writer.path
      output = Output(
        choice: choice, names: Set(choice.recorded.map(\.name)), folder: folder, writer: writer)
    } catch {
      folder.abandon()
      throw error
    }
    remove(file: "\(path)/trace.json")
    remove(file: written)
  }

  package func wants(_ name: String) -> Bool {
    output.map { $0.names.contains(name) || name == $0.choice.last } ?? false
  }

  package func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) throws {
    guard let output else { preconditionFailure("\(name) before the run has begun") }
    progress(name)
    if output.names.contains(name) {
      let tap = output.choice.recorded[statistics.count]
      precondition(
        tap.name == name && tap.rows == value.rows && tap.columns == value.columns,
        "\(name) (\(value.rows), \(value.columns)) where \(tap) was planned")
      try value.values.withUnsafeBytes { try output.writer.write($0) }
      statistics.append((tap, TapStatistics(value)))
    }
    if name == ModelTap.logits.rawValue { lastLogits = value.row(value.rows - 1).map(Double.init) }
    if name == output.choice.last { throw TraceEnd() }
  }

  /// Ends a run that has recorded every tap.
  ///
  /// - summary: what `trace.json` says beside the taps.
  /// - Returns: the whole of `trace.json`.
  package func finish(summary: [JSON.Member]) throws -> JSON {
    try output?.writer.finish()
    let taps = statistics.map { tap, statistics -> JSON in
      [
        "name": .string(tap.name), "shape": .array([.integer(tap.rows), .integer(tap.columns)]),
        "rms": .number(statistics.rms), "max": .number(statistics.max),
      ]
    }
    let json = JSON.object(summary + [JSON.Member(key: "taps", value: .array(taps))])
    try json.write(to: "\(path)/trace.json")
    return json
  }

  /// Leaves nothing of a run that failed.
  package func abandon() {
    guard let output else { return }
    output.writer.abandon()
    remove(file: output.writer.path)
    output.folder.abandon()
  }
}
