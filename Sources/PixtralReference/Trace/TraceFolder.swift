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
  private let made: Bool
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
    made = try makeFolder(path)
    do {
      writer = try SafetensorsWriter(
        "\(path)/trace.safetensors",
        choice.recorded.map {
          // The pictures are float32 in either precision: they are inputs.
          SafetensorsWriter.Entry(
            name: $0.name, element: $0.name.hasPrefix("image.") ? .f32 : element, shape: [$0.rows, $0.columns])
        }, metadata: [("format", "pixtral-ref trace 1")])
    } catch {
      if made { rmdir(path) }
      throw error
    }
    unlink("\(path)/trace.json")
    unlink("\(path)/trace.safetensors")
  }

  /// What stands on disk until the trace is whole, for whoever must clean up when the process is stopped.
  public static func partialPath(in folder: String) -> String {
    SafetensorsWriter.partialPath(of: "\(folder)/trace.safetensors")
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
    try writeFile("\(path)/trace.json", json.text(indented: true) + "\n")
    return json
  }

  /// Leaves nothing of a run that failed.
  public func abandon() {
    writer.abandon()
    unlink("\(path)/trace.safetensors")
    if made { rmdir(path) }
  }
}

/// Makes a folder and those above it.
///
/// - Returns: whether the folder was not there before.
/// - Throws: `InputError` of kind `unwritableFolder`.
@discardableResult
public func makeFolder(_ path: String) throws -> Bool {
  func refuse(_ found: String) -> InputError {
    InputError(.unwritableFolder, path, expected: "a folder that can be written", found: found)
  }
  var status = stat()
  if stat(path, &status) == 0 {
    guard status.st_mode & S_IFMT == S_IFDIR else { throw refuse("something that is no folder") }
    guard access(path, W_OK) == 0 else { throw refuse(systemMessage()) }
    return false
  }
  let parts = path.split(separator: "/", omittingEmptySubsequences: false)
  for count in 1...parts.count {
    let part = parts[..<count].joined(separator: "/")
    if part.isEmpty { continue }
    guard mkdir(part, 0o777) == 0 || errno == EEXIST else { throw refuse(systemMessage()) }
  }
  return true
}

/// Writes a whole file or none.
public func writeFile(_ path: String, _ text: String) throws {
  func refuse() -> InputError {
    InputError(.unwritableFolder, path, expected: "a file that can be written", found: systemMessage())
  }
  let partial = path + ".partial"
  guard let file = fopen(partial, "w") else { throw refuse() }
  let bytes = Array(text.utf8)
  let complete = fwrite(bytes, 1, bytes.count, file) == bytes.count
  guard fclose(file) == 0, complete, rename(partial, path) == 0 else {
    unlink(partial)
    throw refuse()
  }
}
