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
    form: Form = { ([$1.rows, $1.columns], $1.values) }
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

  @Test("The logits of the last position alone fit a case that keeps it, as a row or as a vector")
  func lastRowOfCase() throws {
    for isVector in [false, true] {
      let comparison = try compare { name, matrix in
        guard name == "logits" else { return ([matrix.rows, matrix.columns], matrix.values) }
        return (isVector ? [matrix.columns] : [1, matrix.columns], Array(matrix.row(matrix.rows - 1)))
      }
      #expect(comparison.passed)
      #expect(comparison.notes.contains("1 tap of the candidate: only the last row is compared"))
    }
  }

  @Test("The kept rows are those of a run of the case's tokens, and of no longer one")
  func keptRowsOfAnotherRun() throws {
    let comparison = try compare { name, matrix in
      guard name == "logits" else { return ([matrix.rows, matrix.columns], matrix.values) }
      return ([matrix.rows + 1, matrix.columns], matrix.values + matrix.row(0))
    }
    #expect(comparison.firstDivergence?.verdict == .otherShape(expected: [2, 32_768], found: [59, 32_768]))
  }

  @Test("Dimensions of one are no heads")
  func ones() throws {
    let comparison = try compare { ([$1.rows, 1, $1.columns], $1.values) }
    #expect(comparison.passed)
    #expect(comparison.notes.contains("83 taps of the candidate: dimensions of one were dropped"))
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

  @Test("Neither order is claimed of q and k that are close in none")
  func headsReversed() throws {
    let comparison = try compare(with: traced()) { name, matrix in
      let isRotary = [".q", ".k", "q_rotated", "k_rotated"].contains { name.hasSuffix($0) }
      let width = name.hasPrefix("vision") ? 12 : 20
      guard isRotary else { return ([matrix.rows, matrix.columns], matrix.values) }
      let values = (0..<matrix.rows).flatMap { row in
        stride(from: matrix.columns - width, through: 0, by: -width).flatMap {
          Array(matrix.row(row))[$0..<$0 + width]
        }
      }
      return ([matrix.rows, matrix.columns], values)
    }
    #expect(comparison.firstDivergence?.name == "vision.layers.0.attention.q")
    #expect(comparison.rotaryOrders.map(\.part) == ["vision", "decoder"])
    #expect(comparison.rotaryOrders.map(\.order) == [nil, nil])
  }

  /// The run as transformers has it: a batch of one, rotated q and k with the heads first, and half-split
  /// order.
  private func inOtherForm(_ name: String, _ matrix: Matrix<Double>) -> (shape: [Int], values: [Double]) {
    let isRotary = [".q", ".k", "q_rotated", "k_rotated"].contains { name.hasSuffix($0) }
    guard isRotary else { return ([1, matrix.rows, matrix.columns], matrix.values) }
    let width = name.hasPrefix("vision") ? 12 : 20
    let values = halfSplit(matrix, width)
    guard name.hasSuffix("_rotated") else { return ([1, matrix.rows, matrix.columns], values) }
    let moved = stride(from: 0, to: matrix.columns, by: width).flatMap { start in
      (0..<matrix.rows).flatMap { values[$0 * matrix.columns + start..<$0 * matrix.columns + start + width] }
    }
    return ([1, matrix.columns / width, matrix.rows, width], moved)
  }

  @Test("A file of another runtime is a reference in its own forms and order too")
  func foreignReference() throws {
    _ = try compare(form: inOtherForm)
    let comparison = try Comparison(
      reference: TraceFile("\(folder.path)/candidate.safetensors"), candidate: TraceFile(traced()))
    #expect(comparison.firstDivergence?.name == nil)
    #expect(
      comparison.notes[0].hasPrefix("the reference's q and k of the vision encoder and the decoder are"))
    #expect(comparison.notes[1] == "83 taps of the reference: a batch of one was dropped")
    #expect(
      comparison.notes[2]
        == "10 taps of the reference: [heads, rows, head_dim] was read as [rows, heads · head_dim]")
  }

  @Test("A width of a head that neither side says is said to be guessed")
  func guessedWidth() throws {
    let comparison = try compare(with: "\(traced())/trace.safetensors", form: inOtherForm)
    #expect(comparison.passed)
    #expect(comparison.notes[0].contains("taking heads of 12 and 20 columns: neither side says how many"))
  }

  @Test("Heads in front are read so in taps that have heads, and in the model's number")
  func noHeads() throws {
    let comparison = try compare { name, matrix in
      guard name == "decoder.layers.0.residual" || name == "decoder.layers.0.attention.v" else {
        return ([matrix.rows, matrix.columns], matrix.values)
      }
      let heads = 4  // v has 2
      let width = matrix.columns / heads
      let values = (0..<heads).flatMap { head in
        (0..<matrix.rows).flatMap { matrix.row($0).dropFirst(head * width).prefix(width) }
      }
      return ([heads, matrix.rows, width], values)
    }
    #expect(
      comparison.taps.filter { !$0.passed }.map(\.verdict) == [
        .otherShape(expected: [58, 40], found: [4, 58, 10]),
        .otherShape(expected: [58, 80], found: [4, 58, 20]),
      ])
  }

  @Test("The worst row has the number that it has in the tap, though a case keeps only some")
  func numberOfKeptRow() throws {
    let comparison = try compare { name, matrix in
      var matrix = matrix
      if name == "logits" { matrix[57, 3] += 10 }
      return ([matrix.rows, matrix.columns], matrix.values)
    }
    guard case .far(let distance)? = comparison.firstDivergence?.verdict else {
      return #expect(Bool(false), "must be far")
    }
    #expect(distance.worstRowIndex == 57)
    #expect(comparison.firstDivergence?.rowName == "token 57 of id 4")
  }

  @Test("What is computed anew without all of the candidate's own inputs is said to be so")
  func lackingInputs() throws {
    var model = WrongModel(try Checkpoint("seeded:tiny"), .maskDropped)
    try model.run(golden.prompt)
    func anew(_ isKept: (String) -> Bool, globs: [String] = []) throws -> (
      off: [String], between: [(String, [String])]
    ) {
      var file = TensorFile()
      for (name, matrix) in model.taps where isKept(name) {
        file.addDoubles(name, [matrix.rows, matrix.columns], matrix.values)
      }
      let candidate = try TraceFile(folder.write("candidate.safetensors", file.bytes))
      let comparison = try Comparison(
        reference: TraceFile(golden.folder), candidate: candidate, .init(globs: globs))
      guard case .off(let off, let between) = try comparison.anew(Checkpoint("seeded:tiny")) else {
        return (["nothing"], [])
      }
      return (off.map(\.name), between.map { ($0.tap.name, $0.lacking) })
    }
    let contexts = (0..<2).map { "vision.layers.\($0).attention.context" }
    let whole = try anew({ _ in true })
    #expect(whole.off == contexts)
    #expect(whole.between.isEmpty)

    let withoutContexts = try anew({ !contexts.contains($0) })
    #expect(withoutContexts.off.isEmpty)
    #expect(withoutContexts.between.map(\.0) == (0..<2).map { "vision.layers.\($0).attention.output" })
    #expect(withoutContexts.between.map(\.1) == contexts.map { [$0] })

    let decoder = try anew({ $0.hasPrefix("decoder.") })
    #expect(decoder.off.isEmpty)
    #expect(decoder.between.map(\.0) == ["decoder.embeddings"])
    #expect(decoder.between.first?.1.last == "adapter.w_out")
    // Inputs that are there count, though they are not compared.
    let hidden = try anew({ _ in true }, globs: ["decoder.*"])
    #expect(hidden.off.isEmpty)
    #expect(hidden.between.isEmpty)
  }

  @Test("Nothing is computed for more tokens than the taps have rows")
  func tooManyTokens() throws {
    let reference = try traced()
    let tokens = [Int](repeating: 5, count: 100_000)
    try folder.write("trace/trace.json", #"{"model": "seeded:tiny", "tokens": \#(tokens)}"#)
    let comparison = try compare(with: reference) { name, matrix in
      ([matrix.rows, matrix.columns], name == "decoder.norm" ? matrix.values.map { -$0 } : matrix.values)
    }
    guard case .unknown(let reason) = try comparison.anew(Checkpoint("seeded:tiny")) else {
      return #expect(Bool(false), "nothing can be computed anew")
    }
    #expect(reason == "decoder.embeddings has 58 rows, a run of these tokens 100000")
  }

  @Test("What comes of a k in the other order is not off by itself")
  func otherOrderGoesOn() throws {
    let keys = ["decoder.layers.0.attention.k", "decoder.layers.0.attention.k_rotated"]
    let comparison = try compare { name, matrix in
      ([matrix.rows, matrix.columns], keys.contains(name) ? halfSplit(matrix, 20) : matrix.values)
    }
    guard case .off(let off, _) = try comparison.anew(Checkpoint("seeded:tiny")) else {
      return #expect(Bool(false), "all is known")
    }
    #expect(off.map(\.name) == keys)
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
    guard case .unknown = try comparison.anew(Checkpoint("seeded:tiny")) else {
      return #expect(Bool(false), "nothing can be computed anew")
    }
  }

  @Test("Where no tap that diverges can be computed anew, nothing is said to be right by itself")
  func nothingComputed() throws {
    let comparison = try compare { name, matrix in
      name == "decoder.norm" ? ([1], [0]) : ([matrix.rows, matrix.columns], matrix.values)
    }
    #expect(comparison.firstDivergence?.name == "decoder.norm")
    guard case .unknown(let reason) = try comparison.anew(Checkpoint("seeded:tiny")) else {
      return #expect(Bool(false), "nothing can be computed anew")
    }
    #expect(reason == "no tap that diverges has values that can be judged so")
  }

  @Test("Weights of another model are refused before anything is computed")
  func otherWeights() throws {
    let large = try Checkpoint("seeded:pixtral-large")
    let error = try refusal { try compare().check(large) }
    #expect(error.kind == .wrongParameters)
    #expect(error.found == "other parameters")
    // Of a file of taps the widths tell.
    let bare = try compare(with: "\(traced())/trace.safetensors")
    #expect(
      try refusal { try bare.check(large) }.found
        == "1408 columns of vision.patch_conv instead of 60")
    #expect(throws: Never.self) { try bare.check(Checkpoint("seeded:tiny")) }
  }

  @Test("A candidate of another request is said to be one, by its tokens or by its rows")
  func otherRequest() throws {
    let reference = try traced()
    #expect(try !compare(with: reference).notes.contains { $0.contains("another request") })
    let longer = try compare(with: reference) { name, matrix in
      let isLonger = name.hasPrefix("decoder.") || name == "logits"
      return (
        [matrix.rows + (isLonger ? 1 : 0), matrix.columns], matrix.values + (isLonger ? matrix.row(0) : [])
      )
    }
    #expect(
      longer.notes.first?.hasPrefix(
        "the candidate has 59 rows of decoder.embeddings for 58 tokens, so that it may be of another request")
        == true)

    var tokens = golden.prompt.tokens
    tokens[4] += 1
    try folder.write("other/trace.json", #"{"tokens": \#(tokens)}"#)
    try folder.write("other/trace.safetensors", bytes(of: "\(reference)/trace.safetensors"))
    let other = try Comparison(
      reference: TraceFile(golden.folder), candidate: TraceFile("\(folder.path)/other"))
    #expect(
      other.notes.first?.hasPrefix(
        "the candidate is of another request, token 4 is 29492 instead of 29491: give the runtime the case's own"
      )
        == true)
  }

  @Test("A name of a file stays on its line, of a bearable length, and is seen though it is empty")
  func shownNames() {
    #expect(shownName("a\nall 83 taps are close\u{1b}[31m") == #"a\nall 83 taps are close\u001b[31m"#)
    #expect(shownName("") == "\"\"")
    #expect(shownName(String(repeating: "x", count: 5_000)).count < 100)
  }

  @Test("A trace of a long prompt is read, with all its tokens")
  func longPrompt() throws {
    let reference = try traced()
    try folder.write("trace/trace.json", #"{"tokens": \#([Int](repeating: 32_000, count: 200_000))}"#)
    #expect(try TraceFile(reference).run.tokens.count == 200_000)
  }

  @Test("A trace in another format is refused")
  func otherFormat() throws {
    let reference = try traced()
    try folder.write("trace/trace.json", #"{"format": "pixtral-ref trace 2"}"#)
    #expect(try refusal { try TraceFile(reference) }.expected == "\"pixtral-ref trace 1\"")
  }

  @Test("A case goes first")
  func caseAsCandidate() throws {
    let trace = try TraceFile(traced())
    let error = try refusal { try Comparison(reference: trace, candidate: TraceFile(golden.folder)) }
    #expect(error.advice == "give the case first: it is a reference")
  }

  @Test(
    "A case without what judges it is refused: falling back to other limits would pass as its own",
    arguments: [
      (#""stage": "model""#, #""stage": "tokens""#, "stage"),
      (#""model": "seeded:tiny""#, #""model": "/etc""#, "model"),
      (#""tensors": "expected.safetensors""#, #""tensors": "../x""#, "expect.tensors"),
      (
        #""tensors": "expected.safetensors""#, #""tensors": "expected.safetensors\u0000x""#, "expect.tensors"
      ),
      (#""sha256": "1e73"#, #""sha256": 0, "other": "1e73"#, "expect.sha256"),
      (#""tokens": [1,"#, #""tokens": [1.5,"#, "expect.tokens"),
      (#""logits": [29, 57]"#, #""logits": [29, 58]"#, "expect.rows.logits"),
      (#""logits": [29, 57]"#, #""logits": [57, 29]"#, "expect.rows.logits"),
      (#""relF": 1e-11"#, #""relF": -1"#, "compare.float64"),
      (#""relF": 1e-11"#, #""relf": 1e-11"#, "compare.float64"),
      (#""envelope": "envelope.json""#, #""envelope": "../envelope.json""#, "compare.envelope"),
      (
        #""envelope": "envelope.json""#, #""envelope": "envelope.json\u0000x""#, "compare.envelope"
      ),
      (#""float64": {"#, #""float65": {"#, "compare"),
      (#""compare": {"#, #""compared": {"#, "compare"),
    ])
  func brokenCase(right: String, wrong: String, place: String) throws {
    let text = try JSON(file: "\(golden.folder)/case.json").text()
    let compact = { (json: String) throws in
      json.replacing(": ", with: ":").replacing(", ", with: ",")
    }
    let broken = try text.replacing(compact(right), with: compact(wrong))
    #expect(broken != text)
    try folder.write("case/case.json", broken)
    #expect(try refusal { try TraceFile("\(folder.path)/case") }.place.hasSuffix("case.json, \(place)"))
  }

  @Test("A case whose file is not the one that it speaks of, or has other rows, is refused")
  func otherTensors() throws {
    let text = try JSON(file: "\(golden.folder)/case.json").text()
    let tensors = try bytes(of: "\(golden.folder)/expected.safetensors")
    try folder.write("case/envelope.json", bytes(of: "\(golden.folder)/envelope.json"))
    try folder.write("case/case.json", text)
    try folder.write("case/expected.safetensors", tensors.dropLast() + [tensors.last! ^ 1])
    let other = try refusal { try TraceFile("\(folder.path)/case") }
    #expect(other.expected.hasPrefix("SHA-256 1e73871c"))
    try folder.write("case/expected.safetensors", tensors)
    try folder.write("case/case.json", text.replacing("[29,57]", with: "[29]"))
    let rows = try refusal { try TraceFile("\(folder.path)/case") }
    #expect(rows.expected == "1 row, as expect.rows has them")
  }

  @Test("A tap of a reference that holds no floating-point numbers is refused")
  func integersInReference() throws {
    var file = TensorFile()
    file.tensors = [("logits", "I64", [1, 1], [0, 0, 0, 0, 0, 0, 0, 0])]
    file.add("decoder.norm", [1, 1], [1])
    let path = try folder.write("reference.safetensors", file.bytes)
    let error = try refusal { try Comparison(reference: TraceFile(path), candidate: TraceFile(path)) }
    #expect(error.place.hasSuffix("tensor logits"))
    #expect(error.found == "I64 [1, 1]")
  }

  @Test("A folder that holds neither a trace nor a case is refused with what would be read")
  func noTrace() throws {
    let error = try refusal { try TraceFile(folder.path) }
    #expect(error.kind == .wrongTrace)
    #expect(error.expected == "a folder with trace.safetensors, digest.safetensors or case.json")
    #expect(try refusal { try TraceFile("\(fixtures)/cases/model") }.kind == .wrongTrace)
  }
}
