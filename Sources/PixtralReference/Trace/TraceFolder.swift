import Glibc

/// A trace on disk: `trace.safetensors` with a matrix a tap, and `trace.json` that says what was computed.
///
/// The second is written last and under another name until it is whole: a folder without `trace.json` holds no trace.
public final class TraceFolder: TraceRecorder {
  public let path: String
  /// Statistics of the taps recorded so far, in order.
  public private(set) var statistics: [(tap: PlannedTap, statistics: TapStatistics)] = []
  /// The last row of logits, if the run came so far.
  public private(set) var lastLogits: [Double]?
  private let choice: TapChoice
  private let names: Set<String>
  private let writer: SafetensorsWriter
  private let folder: OutputFolder
  private let progress: (String) -> Void

  /// Makes the folder if need be, and a file in it that is not a trace yet; an older trace in it goes.
  ///
  /// - element: F32 or F64, the precision of the run.
  /// - progress: told the name of every tap as it is computed.
  /// - Throws: `InputError` of kind `unwritableFolder`.
  public init(_ path: String, _ choice: TapChoice, element: Element, progress: @escaping (String) -> Void = { _ in }) throws {
    self.path = path
    self.choice = choice
    self.progress = progress
    names = Set(choice.recorded.map(\.name))
    folder = try OutputFolder(path)
    do {
      writer = try SafetensorsWriter(
        "\(path)/trace.safetensors",
        choice.recorded.map {
          // The pictures are float32 in either precision: they are inputs.
          SafetensorsWriter.Entry(
            name: $0.name, element: $0.name.hasPrefix("image.") ? .f32 : element, shape: [$0.rows, $0.columns])
        }, metadata: [("format", "pixtral-ref trace 1")])
    } catch {
      folder.abandon()
      throw error
    }
    unlink("\(path)/trace.json")
    unlink("\(path)/trace.safetensors")
  }

  /// What stands on disk until the trace is whole, for whoever must clean up when the process is stopped.
  public static func partialPath(in folder: String) -> String {
    NewFile.partialPath(of: "\(folder)/trace.safetensors")
  }

  public func wants(_ name: String) -> Bool { names.contains(name) }

  public func record<Scalar: Real>(_ name: String, _ value: Matrix<Scalar>) throws {
    progress(name)
    if names.contains(name) {
      let tap = choice.recorded[statistics.count]
      precondition(
        tap.name == name && tap.rows == value.rows && tap.columns == value.columns,
        "\(name) (\(value.rows), \(value.columns)) where \(tap) was planned")
      try value.values.withUnsafeBytes { try writer.write($0) }
      statistics.append((tap, TapStatistics(value)))
    }
    if name == ModelTap.logits.rawValue { lastLogits = value.row(value.rows - 1).map(Double.init) }
    if name == choice.last { throw TraceEnd() }
  }

  /// Ends a run that has recorded every tap.
  ///
  /// - summary: what `trace.json` says beside the taps.
  /// - Returns: the whole of `trace.json`.
  public func finish(summary: [JSON.Member]) throws -> JSON {
    try writer.finish()
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
  public func abandon() {
    writer.abandon()
    unlink("\(path)/trace.safetensors")
    folder.abandon()
  }
}
