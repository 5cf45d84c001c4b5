import PixtralImage
import PixtralStorage

/// A trace on disk: `trace.safetensors` with a matrix a tap, or `digest.safetensors` with a digest a
/// tap; `pixels.safetensors` with what the encoder took of each image, and `trace.json` that says what
/// was computed.
///
/// They get their names when the run has ended, `trace.json` last: a folder without it holds no
/// trace, and an older trace stays until then. A run that fails leaves nothing.
package final class TraceFolder: TraceRecorder {
  package let path: String
  /// Which of several prompts it is of, for errors; nil for one alone.
  private let label: String?
  /// The file that holds the taps.
  package var file: String { "\(path)/\(form.file)" }
  /// What the run is about, once it has begun.
  package private(set) var prompt: PromptShape?
  /// Statistics of the taps recorded so far, in order.
  package private(set) var statistics: [(tap: PlannedTap, statistics: TapStatistics)] = []
  /// The last row of logits, if the run came so far.
  package private(set) var lastLogits: [Double]?

  /// What is kept of a tap.
  package enum Form: Sendable, CaseIterable {
    case matrices
    case digests

    /// The file that holds it.
    var file: String {
      switch self {
      case .matrices: "trace.safetensors"
      case .digests: DigestFile.name
      }
    }
  }

  static let pixelsName = "pixels.safetensors"
  /// What `trace.json` and the metadata say that they are.
  package static let format = "pixtral-ref trace 1"

  private let choose: ([PlannedTap]) throws -> TapChoice
  private let dtype: DType
  package let form: Form
  private let inputs: [String]
  private let memory: RunMemory
  private let progress: (String) -> Void
  private var output: Output?

  /// What is open while a run goes on.
  private struct Output {
    let choice: TapChoice
    let names: Set<String>
    let folder: OutputFolder
    let writer: SafetensorsWriter
    /// nil for a run without images, or one that ends before their pixels are there.
    let pixels: PixelsFile?
    let summary: NewFile
  }

  /// Nothing is made until a run begins.
  ///
  /// - label: which of several prompts it is of.
  /// - globs, until: as for `TapChoice`.
  /// - dtype: F32 or F64, the precision of the run.
  /// - form: what is kept of each tap.
  /// - inputs: files that the run reads; none of them is replaced.
  /// - memory: shared by prompts that are run together; nil for one that is run alone.
  /// - progress: told the name of every tap as it is computed.
  package init(
    _ path: String, label: String? = nil, globs: [String] = [], until: String? = nil, dtype: DType,
    form: Form = .matrices, sparing inputs: [String], memory: RunMemory? = nil,
    progress: @escaping (String) -> Void = { _ in }
  ) {
    self.path = path
    self.label = label
    self.dtype = dtype
    self.form = form
    self.inputs = inputs
    self.memory = memory ?? RunMemory(dtype: dtype)
    self.progress = progress
    choose = { try TapChoice(from: $0, globs: globs, until: until) }
  }

  /// Makes the folder if need be, and in it two files that are not a trace yet, with room for all
  /// of it.
  ///
  /// - Throws: `InputError` of kind `wrongTap`, `largeRun` or `unwritable`.
  package func begin(_ prompt: PromptShape, taps: [PlannedTap]) throws {
    do { try makeFiles(prompt, taps) } catch let error as InputError {
      throw label.map(error.inside) ?? error
    }
  }

  private func makeFiles(_ prompt: PromptShape, _ taps: [PlannedTap]) throws {
    self.prompt = prompt
    let choice = try choose(taps)
    try memory.add(choice.computed, for: prompt)
    let folder = try OutputFolder(path, sparing: inputs)
    let entries = choice.recorded.flatMap { tap -> [SafetensorsWriter.Entry] in
      if form == .digests { return DigestFile.entries(tap) }
      // The pictures are float32 in either precision: they are inputs.
      let dtype = tap.name.hasPrefix("image.") ? DType.f32 : dtype
      return [SafetensorsWriter.Entry(name: tap.name, dtype: dtype, shape: [tap.rows, tap.columns])]
    }
    var metadata = [("format", form == .digests ? DigestFile.format : Self.format)]
    if form == .digests { metadata.append(("arithmetic", Arithmetic(storedAs: dtype).rawValue)) }
    let writer = try SafetensorsWriter(entries, metadata: metadata) {
      try folder.newFile(form.file, room: $0)
    }
    let hasPixels = !prompt.images.isEmpty && !choice.last.hasPrefix("image.")
    let pixels =
      try hasPixels
      ? PixelsFile(prompt.images.map(\.grid), patchSize: prompt.patchSize) {
        try folder.newFile(Self.pixelsName, room: $0)
      } : nil
    // What an older trace had, and this one has not, is not of this one.
    try folder.outdate((form == .matrices ? Form.digests : .matrices).file)
    if pixels == nil { try folder.outdate(Self.pixelsName) }
    // More than a tap, a token and all the rest take, so that hours of work do not end for want of it.
    let room = 512 * choice.recorded.count + 16 * prompt.tokens.count + 65536
    output = Output(
      choice: choice, names: Set(choice.recorded.map(\.name)), folder: folder, writer: writer,
      pixels: pixels, summary: try folder.newFile("trace.json", room: room))
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
      let found: TapStatistics
      switch form {
      case .matrices:
        try value.values.withUnsafeBytes { try output.writer.write($0) }
        found = TapStatistics(value)
      case .digests:
        let digest = TapDigest(of: name, value)
        try DigestFile.write(digest, to: output.writer)
        found = TapStatistics(value, digest)
      }
      statistics.append((tap, found))
    }
    if name == ModelTap.logits.rawValue { lastLogits = value.row(value.rows - 1).map(Double.init) }
    if name == output.choice.last { throw TraceEnd() }
  }

  package func record(_ pixels: Pixels, ofImage n: Int) throws {
    try output?.pixels?.write(pixels, of: "image \(n)", n)
  }

  /// Ends a run that has recorded every tap.
  ///
  /// - summary: what `trace.json` says beside the taps.
  /// - Returns: the whole of `trace.json`.
  package func finish(summary: [JSON.Member]) throws -> JSON {
    guard let output else { preconditionFailure("the end of a run that has not begun") }
    try output.writer.complete()
    try output.pixels?.complete()
    let taps = statistics.map { tap, statistics -> JSON in
      [
        "name": .string(tap.name), "shape": .array([.integer(tap.rows), .integer(tap.columns)]),
        "rms": .number(statistics.rms), "max": .number(statistics.max),
      ]
    }
    let json = JSON.object(summary + [JSON.Member(key: "taps", value: .array(taps))])
    try output.summary.write(json.file)
    try output.folder.finish()
    return json
  }
}
