import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

/// A right run of another runtime, stored in the forms in which runtimes have it, against a case.
@Suite("Forms of a candidate")
struct CandidateFormTests {
  private let golden: ModelCase
  private let taps: [(name: String, matrix: Matrix<Double>)]
  private let folder: TemporaryFolder

  init() throws {
    golden = try ModelCase("two-images")
    let recorder = MemoryRecorder()
    _ = try Pixtral<Double>(Checkpoint("seeded:tiny"))(golden.prompt, trace: Trace(recorder))
    taps = recorder.taps
    folder = try TemporaryFolder()
  }

  private typealias Form = (_ name: String, _ matrix: Matrix<Double>) -> (shape: [Int], values: [Double])?

  /// Compares the run, each tap in the form that it is given; nil leaves one out.
  private func compare(
    with reference: String? = nil, _ options: Comparison.Options = .init(),
    adding others: TensorFile = .init(),
    _ form: Form = { ([$1.rows, $1.columns], $1.values) }
  ) throws -> Comparison {
    var file = others
    // As safetensors' own writer has them: sorted by name.
    for (name, matrix) in taps.sorted(by: { $0.name < $1.name }) {
      if let (shape, values) = form(name, matrix) { file.addDoubles(name, shape, values) }
    }
    let candidate = try folder.write("candidate.safetensors", file.bytes)
    return try Comparison(
      reference: TraceFile(reference ?? golden.folder), candidate: TraceFile(candidate), options)
  }

  /// The trace that this version writes of the case.
  private func traced() throws -> String {
    let out = "\(folder.path)/trace"
    let recorder = TraceFolder(out, dtype: .f64, sparing: [])
    let checkpoint = try Checkpoint("seeded:tiny")
    do { _ = try Pixtral<Double>(checkpoint)(golden.prompt, trace: Trace(recorder)) } catch is TraceEnd {}
    _ = try recorder.finish(summary: [
      JSON.Member(key: "model", value: "seeded:tiny"),
      JSON.Member(key: "parameters", value: checkpoint.parameters.json),
    ])
    return out
  }

  @Test("A case is a reference, with the rows that it keeps and its own limits")
  func caseFolder() throws {
    let comparison = try compare()
    #expect(comparison.passed)
    #expect(comparison.taps.count == 83)
    #expect(comparison.taps.allSatisfy { $0.limit.relF == 1e-11 })
  }

  @Test("Logits of the kept rows alone fit a case too")
  func keptRows() throws {
    let comparison = try compare { name, matrix in
      let rows = name == "logits" ? [29, 57] : Array(0..<matrix.rows)
      return ([rows.count, matrix.columns], rows.flatMap { matrix.row($0) })
    }
    #expect(comparison.passed)
  }

  @Test("One row of logits is compared with the last")
  func lastRow() throws {
    let comparison = try compare(with: traced()) { name, matrix in
      name == "logits"
        ? ([1, matrix.columns], Array(matrix.row(matrix.rows - 1)))
        : ([matrix.rows, matrix.columns], matrix.values)
    }
    #expect(comparison.passed)
    #expect(comparison.notes.contains("1 tap of the candidate: only the last row is compared"))
  }

  @Test(
    "Logits of some rows, or of too many, are another shape, though the last row is right",
    arguments: [2, 57, 59])
  func someRows(count: Int) throws {
    let comparison = try compare(with: traced()) { name, matrix in
      guard name == "logits" else { return ([matrix.rows, matrix.columns], matrix.values) }
      let zeros = [Double](repeating: 0, count: (count - 1) * matrix.columns)
      return ([count, matrix.columns], zeros + matrix.row(matrix.rows - 1))
    }
    #expect(
      comparison.firstDivergence?.verdict == .otherShape(expected: [58, 32_768], found: [count, 32_768]))
  }

  @Test("A batch of one is no other shape, in either file")
  func batch() throws {
    let comparison = try compare { ([1, $1.rows, $1.columns], $1.values) }
    #expect(comparison.passed)
    #expect(comparison.notes.contains("83 taps of the candidate: a batch of one was dropped"))
  }

  @Test("Heads may be a dimension of their own, behind the rows or before them", arguments: [false, true])
  func heads(first: Bool) throws {
    let comparison = try compare { name, matrix in
      guard name.hasSuffix(".attention.context") else {
        return ([matrix.rows, matrix.columns], matrix.values)
      }
      let heads = name.hasPrefix("vision.") ? 5 : 6
      let width = matrix.columns / heads
      if !first { return ([matrix.rows, heads, width], matrix.values) }
      let values = (0..<heads).flatMap { head in
        (0..<matrix.rows).flatMap { matrix.row($0).dropFirst(head * width).prefix(width) }
      }
      return ([1, heads, matrix.rows, width], values)
    }
    #expect(comparison.passed)
    let form = first ? "[heads, rows, head_dim]" : "[rows, heads, head_dim]"
    #expect(
      comparison.notes.contains("5 taps of the candidate: \(form) was read as [rows, heads · head_dim]"))
  }

  /// Columns of a head in Hugging Face's order: the even ones, then the odd ones.
  private func halfSplit(_ matrix: Matrix<Double>, _ headDim: Int) -> [Double] {
    (0..<matrix.rows).flatMap { row in
      stride(from: 0, to: matrix.columns, by: headDim).flatMap { start in
        let head = Array(matrix.row(row))[start..<start + headDim]
        return head.enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
          + head.enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
      }
    }
  }

  @Test(
    "q and k in half-split order are recognised and judged, whether or not the width of a head is known",
    arguments: [["vision", "decoder"], ["vision"], ["decoder"]], [true, false])
  func halfSplitOrder(parts: [String], isCase: Bool) throws {
    let file = isCase ? golden.folder : "\(try traced())/trace.safetensors"
    let comparison = try compare(with: file) { name, matrix in
      let part = String(name.prefix { $0 != "." })
      let isRotary = [".q", ".k", "q_rotated", "k_rotated"].contains { name.hasSuffix($0) }
      guard parts.contains(part), isRotary else { return ([matrix.rows, matrix.columns], matrix.values) }
      return ([matrix.rows, matrix.columns], halfSplit(matrix, part == "vision" ? 12 : 20))
    }
    #expect(comparison.firstDivergence?.name == nil)
    #expect(comparison.rotaryOrders.filter { $0.order == .halfSplit }.map(\.part) == parts)
    #expect(comparison.notes.first?.contains("half-split order") == true)
  }

  @Test("One k in the other order than its q is far, and said to be close in the other order")
  func mixedOrder() throws {
    let comparison = try compare { name, matrix in
      (
        [matrix.rows, matrix.columns],
        name == "decoder.layers.1.attention.k" ? halfSplit(matrix, 20) : matrix.values
      )
    }
    #expect(comparison.taps.filter { !$0.passed }.map(\.name) == ["decoder.layers.1.attention.k"])
    #expect(comparison.firstDivergence?.isCloseInOtherOrder == true)
    #expect(comparison.rotaryOrders.map(\.order) == [.adjacent, .adjacent])
  }

  @Test(
    "A row is named by its image and patch, or by its token",
    arguments: [
      ("vision.layers.0.output", 20, "image 1, row 0, column 2"),
      ("vision.ln_pre", 0, "image 0, row 0, column 0"),
      ("adapter.w_out", 32, "image 1, row 4, column 2"),
      ("decoder.embeddings", 4, "token 4 of id 29491"),
      ("decoder.norm", 29, "token 29 of id 15"),
      ("decoder.norm", 28, "token 28 of id 10, image 0, row 2, column 5"),
      ("logits", 57, "token 57 of id 4"),
    ])
  func rowNames(tap: String, row: Int, expected: String) throws {
    let comparison = try compare { name, matrix in
      var matrix = matrix
      if name == tap { matrix[row, 3] += 10 }
      return ([matrix.rows, matrix.columns], matrix.values)
    }
    #expect(comparison.firstDivergence?.name == tap)
    #expect(comparison.firstDivergence?.rowName == expected)
  }

  @Test("Tensors beside the taps are extra, whatever they hold, and the tap that was meant is named")
  func extra() throws {
    var others = TensorFile()
    others.tensors = [
      ("input_ids", "I64", [1], [0, 0, 0, 0, 0, 0, 0, 0]), ("mask", "BOOL", [2], [0, 1]),
      ("scale", "F32", [], [0, 0, 0, 0]),
      ("none", "F32", [0, 3], []), ("eighths", "F8_E4M3", [1], [0]),
    ]
    let comparison = try compare(adding: others) { name, matrix in
      name == "vision.ln_pre" ? nil : ([matrix.rows, matrix.columns], matrix.values)
    }
    #expect(comparison.missing.map(\.name) == ["vision.ln_pre"])
    #expect(comparison.firstDivergence == nil)
    #expect(comparison.extra.map(\.name) == ["scale", "input_ids", "mask", "none", "eighths"])
  }

  @Test(
    "A name with a prefix of its own, or nearly right, is said to be the tap that is missing",
    arguments: [
      ("model.vision.ln_pre", "vision.ln_pre"), ("decoder.layers.0.attn.q", "decoder.layers.0.attention.q"),
      ("vision.ln_prre", "vision.ln_pre"), ("something.else.altogether", nil),
    ] as [(String, String?)])
  func meant(name: String, tap: String?) {
    #expect(nearest(name, of: ["vision.ln_pre", "decoder.layers.0.attention.q", "logits"]) == tap)
  }

  @Test("A tap of integers is no matrix of floating-point numbers")
  func integers() throws {
    var others = TensorFile()
    others.tensors = [("vision.ln_pre", "I64", [1], [0, 0, 0, 0, 0, 0, 0, 0])]
    let comparison = try compare(adding: others) { name, matrix in
      name == "vision.ln_pre" ? nil : ([matrix.rows, matrix.columns], matrix.values)
    }
    #expect(comparison.firstDivergence?.verdict == .otherDType("I64"))
  }

  @Test(
    "A trace.json that is of another run does no harm, and nothing is computed anew from it",
    arguments: [
      (#""tokens":[1,2,3],"images":[]"#), #""tokens":[-1]"#, #""tokens":[],"images":7"#,
      #""tokens":[1,10,10,15],"images":[{"columns":2,"rows":1}]"#,
      #""images":[{"columns":1000000000,"rows":1000000000}]"#,
      #""tokens":[1,10,15],"images":[{"columns":65536,"rows":65536},{"columns":1,"rows":1}]"#,
    ])
  func otherRun(members: String) throws {
    let reference = try traced()
    try folder.write("trace/trace.json", "{\(members)}")
    let comparison = try compare(with: reference) { name, matrix in
      ([matrix.rows, matrix.columns], name == "logits" ? matrix.values.map { -$0 } : matrix.values)
    }
    #expect(comparison.firstDivergence?.name == "logits")
    #expect(try comparison.offByThemselves(Checkpoint("seeded:tiny")) == nil)
  }

  @Test("A trace of a long prompt is read, with all its tokens")
  func longPrompt() throws {
    let reference = try traced()
    try folder.write("trace/trace.json", #"{"tokens": \#([Int](repeating: 32_000, count: 200_000))}"#)
    #expect(try TraceFile(reference).run.tokens.count == 200_000)
  }

  @Test("A folder that holds neither a trace nor a case is refused with what would be read")
  func noTrace() throws {
    let error = try refusal { try TraceFile(folder.path) }
    #expect(error.kind == .wrongTrace)
    #expect(error.expected == "a folder with trace.safetensors, or with case.json")
    #expect(try refusal { try TraceFile("\(fixtures)/cases/model") }.kind == .wrongTrace)
  }
}
