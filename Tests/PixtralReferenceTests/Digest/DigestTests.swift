import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

/// Digests, and comparisons of them. Trace.md, digests.
@Suite("Digests")
struct DigestTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test("Digests are those that NumPy makes of the same matrices")
  func values() throws {
    let file = try JSON(file: "\(fixtures)/digest/values.json")
    let digests = try #require(file["digests"]?.array)
    #expect(digests.count >= 6)
    for json in digests {
      let tap = try #require(json["tap"]?.string)
      let rows = try #require(json["rows"]?.integer)
      let columns = try #require(json["columns"]?.integer)
      var values = (0..<rows * columns).map { Double($0 * 7919 % 1009 - 504) / 64 }
      if case .object(let places)? = json["not_finite"] {
        for place in places { values[Int(place.key)!] = Double(place.value.string!)! }
      }
      let digest = TapDigest(of: tap, Matrix(rows: rows, columns: columns, values: values))
      let summary = [
        Double(digest.rows), Double(digest.columns), digest.rms, digest.largest, Double(digest.notFinite),
        Double(digest.nan),
      ]
      let expected = try #require(json["summary"]?.decimals)
      #expect(relF(summary, expected) < 1e-15, "\(tap)")
      #expect(digest.rowNorms == json["row_norms"]?.decimals?.map { Float($0) }, "\(tap)")
      let sketch = try #require(json["sketch"]?.decimals)
      #expect(relF(digest.sketch.map(Double.init), sketch) < 1e-7, "\(tap)")
      // In single precision every value is the same.
      let single = TapDigest(of: tap, Matrix(rows: rows, columns: columns, values: values.map { Float($0) }))
      #expect(single == digest, "\(tap)")
    }
  }

  /// A file of digests of some taps.
  private func digests(_ name: String, _ taps: [(name: String, matrix: Matrix<Double>)]) throws -> TraceFile {
    let path = "\(folder.path)/\(name).safetensors"
    let entries = taps.flatMap {
      DigestFile.entries(
        PlannedTap(name: $0.name, rows: $0.matrix.rows, columns: $0.matrix.columns, onDemand: false))
    }
    let writer = try SafetensorsWriter(entries, metadata: [("format", DigestFile.format)]) {
      try NewFile(path, room: $0, sparing: [])
    }
    for (name, matrix) in taps { try DigestFile.write(TapDigest(of: name, matrix), to: writer) }
    try writer.finish()
    return try TraceFile(path)
  }

  private func trace(_ name: String, _ taps: [(name: String, matrix: Matrix<Double>)]) throws -> TraceFile {
    var file = TensorFile()
    // Stored in single precision, for single precision's limits.
    for (name, matrix) in taps {
      file.add(name, [matrix.rows, matrix.columns], matrix.values.map { Float($0) })
    }
    return try TraceFile(folder.write("\(name).safetensors", file.bytes))
  }

  private func taps(_ fault: Fault?) throws -> [(name: String, matrix: Matrix<Double>)] {
    var model = WrongModel(try Checkpoint("seeded:tiny"), fault)
    try model.run(try ModelCase("two-images").prompt)
    return model.taps
  }

  @Test(
    "By digests a fault shows first where it shows first by the matrices, and is estimated to 15%",
    arguments: JudgeTests.shown.map(\.0))
  func faults(fault: Fault) throws {
    let (right, wrong) = (try taps(nil), try taps(fault))
    let exact = try Comparison(reference: trace("e", right), candidate: trace("a", wrong))
    let (e, a) = (try digests("de", right), try digests("da", wrong))
    for comparison in [
      try Comparison(reference: e, candidate: a),
      try Comparison(reference: e, candidate: trace("a", wrong)),
      try Comparison(reference: trace("e", right), candidate: a),
    ] {
      #expect(comparison.firstDivergence?.name == exact.firstDivergence?.name)
      #expect(comparison.notes.contains { $0.contains("relF is an estimate") })
      for (tap, other) in zip(comparison.taps, exact.taps) {
        guard case .far(let estimate) = tap.verdict, case .far(let distance) = other.verdict else { continue }
        #expect(abs(estimate.relF / distance.relF - 1) < 0.15, "\(tap.name)")
        #expect(estimate.isEstimate && !distance.isEstimate)
        #expect(estimate.maxOverRMS == nil)
      }
    }
  }

  @Test("The noise of single precision is estimated to 15% at every tap")
  func noise() throws {
    let recorder = MemoryRecorder()
    let prompt = try ModelCase("two-images").prompt
    _ = try Pixtral<Float>(Checkpoint("seeded:tiny"))(prompt, trace: Trace(recorder))
    let right = try taps(nil)
    let exact = try Comparison(reference: trace("e", right), candidate: trace("a", recorder.taps))
    let estimated = try Comparison(reference: digests("de", right), candidate: digests("da", recorder.taps))
    for (tap, other) in zip(estimated.taps, exact.taps) {
      guard case .close(let estimate) = tap.verdict, case .close(let distance) = other.verdict else {
        #expect(Bool(false), "\(tap.name) must be close")
        continue
      }
      // The reference's own rounding to single precision is in the exact one.
      #expect(abs(estimate.relF - distance.relF) < 0.15 * distance.relF + 5e-8, "\(tap.name)")
    }
  }

  @Test("Half-split q and k of a trace are recognised against a digest, and nothing is computed from one")
  func orders() throws {
    let right = try taps(nil)
    let split = right.map { name, matrix -> (name: String, matrix: Matrix<Double>) in
      guard let part = RotaryPart(tap: name) else { return (name, matrix) }
      let width = part == .vision ? 12 : 20
      var other = matrix
      for row in 0..<matrix.rows {
        for column in 0..<matrix.columns {
          let within = column % width
          other[row, column - within + within / 2 + (within.isMultiple(of: 2) ? 0 : width / 2)] =
            matrix[row, column]
        }
      }
      return (name, other)
    }
    let reference = try digests("de", right)
    let comparison = try Comparison(reference: reference, candidate: trace("a", split))
    #expect(comparison.passed)
    #expect(comparison.rotaryOrders.map(\.order) == [.halfSplit, .halfSplit])

    let lost = try Comparison(reference: reference, candidate: digests("da", split))
    #expect(lost.firstDivergence?.name == "vision.layers.0.attention.q")
    guard case .unknown(let reason) = try lost.anew(Checkpoint("seeded:tiny")) else {
      return #expect(Bool(false), "a digest has no values")
    }
    #expect(reason.hasPrefix("the candidate is a digest"))
  }

  @Test("NaN fails, and so does another number of values that are not finite")
  func notFinite() throws {
    func verdict(_ e: [Double], _ a: [Double]) throws -> Comparison.Verdict {
      let (e, a) = (Matrix(rows: 1, columns: 2, values: e), Matrix(rows: 1, columns: 2, values: a))
      return try Comparison(
        reference: digests("e", [("logits", e)]), candidate: digests("a", [("logits", a)])
      ).taps[0].verdict
    }
    #expect(try verdict([1, 2], [1, .infinity]) == .otherNonFinite(expected: 0, found: 1))
    #expect(try verdict([1, .nan], [1, .nan]) == .otherNonFinite(expected: 1, found: 1))
    guard case .close = try verdict([1, -.infinity], [1, -.infinity]) else {
      return #expect(Bool(false), "masked scores are alike")
    }
  }

  @Test("Another shape is another shape, and one row of logits is the last")
  func shapes() throws {
    let two = Matrix(rows: 2, columns: 3, values: [1, 2, 3, 4, 5, 6])
    let last = Matrix(rows: 1, columns: 3, values: [4, 5, 6])
    #expect(
      try Comparison(reference: trace("e", [("logits", two)]), candidate: digests("a", [("logits", last)]))
        .passed)
    #expect(
      try Comparison(reference: digests("e", [("logits", last)]), candidate: trace("a", [("logits", two)]))
        .passed)
  }

  @Test("Some rows against a digest of all are missing, for it has no single rows")
  func someRows() throws {
    let two = Matrix(rows: 2, columns: 3, values: [1, 2, 3, 4, 5, 6])
    let last = Matrix(rows: 1, columns: 3, values: [4, 5, 6])
    let comparison = try Comparison(
      reference: digests("e", [("logits", two)]), candidate: trace("a", [("logits", last)]))
    #expect(comparison.taps[0].verdict == .missing)
    #expect(
      comparison.notes.contains(
        "logits: one side has a digest of all rows, of which the other has some; single rows are in no digest"
      ))

    // A case that keeps rows 19 and 37 of the logits.
    let image = try ModelCase("image")
    let recorder = MemoryRecorder()
    _ = try Pixtral<Float>(Checkpoint("seeded:tiny"))(image.prompt, trace: Trace(recorder))
    let right = try Comparison(
      reference: TraceFile(image.folder), candidate: digests("right", recorder.taps))
    #expect(right.firstDivergence == nil)
    #expect(right.missing.map(\.name) == ["logits"])
  }

  @Test("The limit is that of what a digest says that it was computed in, TF32 too")
  func arithmetic() throws {
    let matrix = Matrix(rows: 1, columns: 2, values: [3, 4])
    for arithmetic in Arithmetic.allCases {
      let path = "\(folder.path)/\(arithmetic).safetensors"
      let tap = PlannedTap(name: "decoder.norm", rows: 1, columns: 2, onDemand: false)
      let metadata = [("format", DigestFile.format), ("arithmetic", arithmetic.rawValue)]
      let writer = try SafetensorsWriter(DigestFile.entries(tap), metadata: metadata) {
        try NewFile(path, room: $0, sparing: [])
      }
      try DigestFile.write(TapDigest(of: tap.name, matrix), to: writer)
      try writer.finish()
      let limit = try Comparison(reference: TraceFile(path), candidate: TraceFile(path)).taps[0].limit
      // Digests are rounded to float32.
      let noise = Noise.ofModels["seeded:tiny"]?.at(tap.name, arithmetic == .float64 ? .float32 : arithmetic)
      #expect(limit == DistanceLimit(noise: try #require(noise).relF), "\(arithmetic)")
    }
  }

  @Test("A row that is too long to be held has the digest that it has in one piece")
  func longRow() throws {
    let columns = (1 << 20) + 5
    let values = (0..<columns).map { Double($0 * 7919 % 1009 - 504) / 64 }
    let parts = TapDigest(of: "logits", Matrix(rows: 1, columns: columns, values: values))
    var expected = [Double](repeating: 0, count: TapDigest.buckets)
    let hash = IndexHash("sketch:logits")
    for (n, value) in values.enumerated() {
      let h = hash(UInt32(n))
      expected[Int(h & 511)] += h & 512 == 0 ? value : -value
    }
    #expect(relF(parts.sketch.map(Double.init), expected) < 1e-7)
    let squares = values.reduce(0) { $0 + $1 * $1 }
    #expect(abs(parts.rms / (squares / Double(columns)).squareRoot() - 1) < 1e-12)
    #expect(parts.rowNorms == [Float(squares.squareRoot())])
  }

  @Test("Two digests show no order of q and k that is not plain")
  func unclearOrder() throws {
    let q = Matrix(rows: 1, columns: 4, values: [1, 2, 3, 4])
    let other = Matrix(rows: 1, columns: 4, values: [1, 3, 2, 4])
    let tap = "decoder.layers.0.attention.q"
    let comparison = try Comparison(
      reference: digests("e", [(tap, q)]), candidate: digests("a", [(tap, other)]))
    #expect(comparison.rotaryOrders.map(\.order) == [nil])
  }

  @Test("What is no whole digest is refused")
  func damaged() throws {
    func file(_ change: (inout TensorFile) -> Void, format: String = DigestFile.format) throws -> InputError {
      var file = TensorFile()
      file.addDoubles("logits.summary", [6], [2, 3, 1, 1, 0, 0])
      file.add("logits.row_norms", [2], [1.7320508, 1.7320508])
      file.add("logits.sketch", [512], [Float](repeating: 0, count: 512))
      change(&file)
      let header = #"{"__metadata__":{"format":"\#(format)"},"# + file.header.dropFirst()
      let path = try folder.write(
        "d.safetensors", TensorFile.bytes(header: header, data: file.tensors.flatMap(\.bytes)))
      return try refusal { try TraceFile(path) }
    }
    #expect(try file({ $0.tensors.removeLast() }).found == "no such tensor")
    #expect(try file({ $0.tensors[1].shape = [1, 2] }).found == "F32 [1, 2]")
    #expect(try file({ _ in }, format: "pixtral-ref digest 2").expected == "pixtral-ref digest 1")
    #expect(try file({ $0.tensors.removeFirst() }).place.hasSuffix("logits.summary"))
    for norms: [Float] in [[.nan, 1], [-1, 1]] {
      let error = try file {
        $0.tensors.remove(at: 1)
        $0.add("logits.row_norms", [2], norms)
      }
      #expect(error.place.hasSuffix("logits.row_norms"), "\(norms)")
    }
    let error = try file {
      $0.tensors.removeLast()
      $0.add("logits.sketch", [512], [Float](repeating: .nan, count: 512))
    }
    #expect(error.place.hasSuffix("logits.sketch"))
    // The last are of no matrix: their sizes contradict one another, or the row norms.
    for summary in [
      [0, 3, 1, 1, 0, 0], [2, 3, -1, 1, 0, 0], [2, 3, 1, 1, 7, 0], [2.5, 3, 1, 1, 0, 0],
      [2, 3, 1e300, 1, 0, 0], [2, 3, 0, 1, 0, 0], [2, 3, 1, 100, 0, 0], [2, 3, 2, 2, 0, 0],
    ] {
      let error = try file {
        $0.tensors.removeFirst()
        $0.addDoubles("logits.summary", [6], summary)
      }
      #expect(error.place.hasSuffix("logits.summary"), "\(summary)")
    }
  }
}
