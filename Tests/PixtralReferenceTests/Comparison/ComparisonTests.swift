import PixtralImage
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

/// The judge, with right and wrong answers.
@Suite("Comparing traces")
struct ComparisonTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func trace(_ name: String, _ tensors: [(String, [Int], [Float])]) throws -> TraceFile {
    var file = TensorFile()
    for (name, shape, values) in tensors { file.add(name, shape, values) }
    return try TraceFile(folder.write("\(name).safetensors", file.bytes))
  }

  /// One tap of 2×2 against another.
  private func verdict(_ expected: [Float], _ found: [Float], shape: [Int] = [2, 2]) throws
    -> Comparison.Verdict
  {
    try Comparison(
      reference: trace("e", [("t", [2, 2], expected)]), candidate: trace("a", [("t", shape, found)])
    ).taps[0].verdict
  }

  @Test("Equal tensors are close, at distance 0")
  func equal() throws { #expect(try verdict([1, 2, 3, 4], [1, 2, 3, 4]) == .close(Distance())) }

  @Test("The distance is the norm of the difference over the norm of the reference")
  func distance() throws {
    // ‖(0, 0, 0, 3)‖ / ‖(0, 0, 0, 4)‖; the row and the element have the same: 3/4, and 3 over an RMS of 2.
    let expected = Distance(relF: 0.75, worstRow: 0.75, worstRowIndex: 1, maxOverRMS: 1.5)
    #expect(try verdict([0, 0, 0, 4], [0, 0, 0, 1]) == .far(expected))
  }

  @Test("One wrong row of many is not hidden by the others")
  func worstRow() throws {
    var expected = [Float](repeating: 1, count: 20_000)
    var found = expected
    expected[19_999] = 1e-3
    found[19_999] = 1.1e-3
    let comparison = try Comparison(
      reference: trace("e", [("t", [20_000, 1], expected)]),
      candidate: trace("a", [("t", [20_000, 1], found)]))
    guard case .far(let distance) = comparison.taps[0].verdict else {
      return #expect(Bool(false), "must be far")
    }
    #expect(distance.relF < 1e-6)
    #expect(distance.worstRowIndex == 19_999)
  }

  @Test(
    "NaN fails, in the candidate, in the reference, and in both",
    arguments: [(4, Float.nan), (.nan, 4), (.nan, .nan)] as [(Float, Float)])
  func nan(expected: Float, found: Float) throws {
    #expect(try verdict([1, 2, 3, expected], [1, 2, 3, found]) == .nonFinite(row: 1, column: 1))
  }

  @Test("Equal infinities agree, others do not")
  func infinities() throws {
    #expect(try verdict([1, -.infinity, 3, 4], [1, -.infinity, 3, 4]) == .close(Distance()))
    #expect(try verdict([1, -.infinity, 3, 4], [1, .infinity, 3, 4]) == .nonFinite(row: 0, column: 1))
    #expect(try verdict([1, 2, 3, 4], [1, .infinity, 3, 4]) == .nonFinite(row: 0, column: 1))
  }

  @Test("Another shape is far, though the values are the same")
  func shape() throws {
    #expect(
      try verdict([1, 2, 3, 4], [1, 2, 3, 4], shape: [1, 4]) == .otherShape(expected: [2, 2], found: [1, 4]))
  }

  @Test("A reference of zeros allows nothing but zeros")
  func zeros() throws {
    #expect(try verdict([0, 0, 0, 0], [0, 0, 0, 0]) == .close(Distance()))
    guard case .far = try verdict([0, 0, 0, 0], [0, 0, 0, 1e-30]) else {
      return #expect(Bool(false), "must be far")
    }
  }

  @Test("Values whose squares are none or infinite are not close, unless they are equal")
  func extremes() throws {
    func passes(_ e: Double, _ a: Double) throws -> Bool {
      var (expected, found) = (TensorFile(), TensorFile())
      expected.addDoubles("t", [1, 2], [e, e])
      found.addDoubles("t", [1, 2], [a, a])
      return try Comparison(
        reference: TraceFile(folder.write("e.safetensors", expected.bytes)),
        candidate: TraceFile(folder.write("a.safetensors", found.bytes))
      ).passed
    }
    for value in [1e-200, 5e-324, 1e308] {
      #expect(try passes(value, value))
      #expect(try !passes(value, value / 2 + value / 4 + value / 2))
      #expect(try !passes(value, -value))
    }
  }

  @Test("A tap that the candidate lacks is missing and has not diverged, though nothing has passed")
  func missing() throws {
    let comparison = try Comparison(
      reference: trace("e", [("s", [1], [1]), ("t", [1], [1])]),
      candidate: trace("a", [("t", [1], [1]), ("u", [1], [1])]))
    #expect(comparison.missing.map(\.name) == ["s"])
    #expect(comparison.firstDivergence == nil)
    #expect(!comparison.passed)
    #expect(comparison.extra.map(\.name) == ["u"])
  }

  @Test("Two files without a common tap are refused")
  func nothingInCommon() throws {
    let error = try refusal {
      try Comparison(
        reference: trace("e", [("vision.ln_pre", [1], [1])]),
        candidate: trace("a", [("model.vision.ln_pre", [1], [1])]))
    }
    #expect(error.kind == .wrongTrace)
    #expect(error.advice == "name them as the taps are, such as vision.ln_pre")
  }

  @Test("Patterns choose what is compared, and comparing nothing is refused")
  func chosen() throws {
    let (e, a) = (try trace("e", [("s", [1], [1]), ("t", [1], [1])]), try trace("a", [("t", [1], [1])]))
    #expect(try Comparison(reference: e, candidate: a, .init(globs: ["t"])).passed)
    #expect(try Comparison(reference: e, candidate: a, .init(globs: ["!s"])).passed)
    for (globs, wrong) in [(["x"], "x"), (["t", "x"], "x"), (["!x"], "!x"), (["t", "!t"], "t,!t")] {
      let error = try refusal { try Comparison(reference: e, candidate: a, .init(globs: globs)) }
      #expect(error.place == "--taps \(wrong)")
    }
  }

  @Test("Taps are judged in the order of computation, whatever the order in the files")
  func firstDivergence() throws {
    // A file that is sorted by name has the adapter first.
    let names = [
      "adapter.gelu", "decoder.layers.0.output", "logits", "vision.layers.10.attention.q",
      "vision.layers.2.attention.context", "vision.layers.2.attention.q", "vision.patch_conv",
    ]
    let e = try trace("e", names.map { ($0, [1], [1]) })
    let a = try trace("a", names.map { ($0, [1], [2]) })
    let comparison = try Comparison(reference: e, candidate: a)
    #expect(
      comparison.taps.map(\.name) == [
        "vision.patch_conv", "vision.layers.2.attention.q", "vision.layers.2.attention.context",
        "vision.layers.10.attention.q", "adapter.gelu", "decoder.layers.0.output", "logits",
      ])
    #expect(comparison.firstDivergence?.name == "vision.patch_conv")
  }

  @Test("A name that is no tap's comes behind the taps")
  func otherNames() throws {
    let e = try trace("e", [("b", [1], [1]), ("a", [1], [1]), ("logits", [1], [1])])
    #expect(try Comparison(reference: e, candidate: e).taps.map(\.name) == ["logits", "b", "a"])
  }

  @Test("The limit is that of the narrower dtype, or of a declared arithmetic that is narrower still")
  func limits() throws {
    let e = try trace("e", [("t", [1], [1])])
    func limit(_ arithmetic: Arithmetic?) throws -> DistanceLimit {
      try Comparison(reference: e, candidate: e, .init(arithmetic: arithmetic)).taps[0].limit
    }
    #expect(try limit(nil) == Arithmetic.float32.limit)
    #expect(try limit(.float64) == Arithmetic.float32.limit)
    #expect(try limit(.bfloat16) == Arithmetic.bfloat16.limit)
  }

  @Test("What was computed in TF32 and is stored in float16 has float16's limit")
  func halfBehindTF32() throws {
    let e = try trace("e", [("decoder.norm", [1, 1], [1])])
    var file = TensorFile()
    file.tensors = [("decoder.norm", "F16", [1, 1], [0, 0x3c])]
    let a = try TraceFile(folder.write("a.safetensors", file.bytes))
    let limit = try Comparison(reference: e, candidate: a, .init(arithmetic: .tf32)).taps[0].limit
    let noise = try #require(Noise.ofModels["seeded:tiny"]?.at("decoder.norm", .float16))
    #expect(limit == DistanceLimit(noise: noise.relF))
  }

  @Test("A tap that a folder has twice is refused")
  func twice() throws {
    for name in ["trace.safetensors", "pixels.safetensors"] {
      var file = TensorFile()
      file.add("image0", [3, 1, 1], [1, 2, 3])
      try folder.write(name, file.bytes)
    }
    let error = try refusal { try TraceFile(folder.path) }
    #expect(error.found == "it in trace.safetensors and in pixels.safetensors")
  }

  @Test("Heads of a width that nobody says are found, and many widths cost no more than the nearest")
  func manyWidths() throws {
    // 55,440 columns have 45 even divisors up to 1,024.
    let (rows, columns, width) = (40, 55_440, 60)
    let e = (0..<rows * columns).map { Float($0 * 7919 % 1009 - 504) / 64 }
    let a = e.indices.map { n in
      let within = n % width
      return e[n - within + within % (width / 2) * 2 + within / (width / 2)]
    }
    let tap = "decoder.layers.0.attention.q"
    let comparison = try Comparison(
      reference: trace("e", [(tap, [rows, columns], e)]), candidate: trace("a", [(tap, [rows, columns], a)]))
    #expect(comparison.passed)
    #expect(comparison.notes.contains { $0.contains("taking heads of 60 columns") })
  }

  @Test("A limit lets NaN through nowhere")
  func limitAndNaN() {
    let limit = DistanceLimit(relF: .infinity)
    #expect(!limit.allows(Distance(relF: .nan)))
    #expect(!limit.allows(Distance(worstRow: .nan)))
  }
}
