import PixtralStorage

/// `digest.safetensors`: three tensors for each tap. Trace.md, digests.
package enum DigestFile {
  package static let name = "digest.safetensors"
  package static let format = "\(kind)1"
  private static let kind = "pixtral-ref digest "

  /// The tensors of a tap, in the order in which `bytes` has them.
  static func entries(_ tap: PlannedTap) -> [SafetensorsWriter.Entry] {
    [
      SafetensorsWriter.Entry(name: "\(tap.name).summary", dtype: .f64, shape: [6]),
      SafetensorsWriter.Entry(
        name: "\(tap.name).row_norms", dtype: .f32, shape: [TapDigest.keptRows(of: tap.rows).count]),
      SafetensorsWriter.Entry(name: "\(tap.name).sketch", dtype: .f32, shape: [TapDigest.buckets]),
    ]
  }

  static func write(_ digest: TapDigest, to writer: SafetensorsWriter) throws {
    let summary = [
      Double(digest.rows), Double(digest.columns), digest.rms, digest.largest, Double(digest.notFinite),
      Double(digest.nan),
    ]
    try summary.withUnsafeBytes { try writer.write($0) }
    try digest.rowNorms.withUnsafeBytes { try writer.write($0) }
    try digest.sketch.withUnsafeBytes { try writer.write($0) }
  }

  /// The taps of a file, each with its digest for its values and the dtype that its arithmetic has.
  ///
  /// - Returns: nil for a file that does not say that it is a digest.
  /// - Throws: `InputError` of kind `wrongTrace` for what is no whole digest.
  static func read(_ file: Safetensors) throws -> [StoredTensor]? {
    let path = file.file.path
    let metadata = file.metadata
    guard let said = metadata["format"], said.hasPrefix(kind) else { return nil }
    guard said == format else {
      throw InputError(
        .wrongTrace, "\(path), format", expected: format, found: said,
        advice: "compare it with the version that wrote it")
    }
    guard let arithmetic = Arithmetic(rawValue: metadata["arithmetic"] ?? "float32") else {
      throw InputError(
        .wrongTrace, "\(path), arithmetic", expected: Arithmetic.names,
        found: metadata["arithmetic"] ?? "none")
    }
    let tensors = Dictionary(uniqueKeysWithValues: file.tensors.map { ($0.name, $0) })
    func refuse(_ name: String, _ expected: String, _ found: String) -> InputError {
      InputError(
        .wrongTrace, "\(path), tensor \(name)", expected: expected, found: found,
        advice: "Docs/Trace.md, digests, says what a digest holds")
    }
    func values<Scalar: BLASScalar>(_ name: String, _ dtype: DType, _ count: Int) throws -> [Scalar] {
      guard let tensor = tensors[name] else {
        throw refuse(name, "\(dtype.rawValue) [\(count)]", "no such tensor")
      }
      guard tensor.dtype == dtype, tensor.shape == [count] else {
        throw refuse(name, "\(dtype.rawValue) [\(count)]", "\(tensor.typeName) \(tensor.shape)")
      }
      return try StoredTensor(tensor, of: file.file).vector()
    }
    // A tap without its summary would not be missed.
    for tensor in file.tensors {
      for part in [".row_norms", ".sketch"] where tensor.name.hasSuffix(part) {
        let summary = "\(tensor.name.dropLast(part.count)).summary"
        guard tensors[summary] != nil else { throw refuse(summary, "F64 [6]", "no such tensor") }
      }
    }
    func digest(_ tap: String) throws -> TapDigest {
      let summary: [Double] = try values("\(tap).summary", .f64, 6)
      let limits: [Double] = [1e9, 1e9, .greatestFiniteMagnitude, .greatestFiniteMagnitude, 0x1p53, 0x1p53]
      guard zip(summary, limits).allSatisfy({ $0 >= 0 && $0 <= $1 }), summary[0] >= 1, summary[1] >= 1,
        [0, 1, 4, 5].allSatisfy({ summary[$0] == summary[$0].rounded() }), summary[5] <= summary[4],
        summary[4] <= summary[0] * summary[1]
      else { throw refuse("\(tap).summary", "rows, columns and four numbers from 0", "\(summary)") }
      let rows = Int(summary[0])
      let norms: [Float] = try values("\(tap).row_norms", .f32, TapDigest.keptRows(of: rows).count)
      let sketch: [Float] = try values("\(tap).sketch", .f32, TapDigest.buckets)
      // NaN is neither.
      guard norms.allSatisfy({ $0 >= 0 }) else {
        throw refuse("\(tap).row_norms", "numbers from 0", "others")
      }
      guard sketch.allSatisfy({ !$0.isNaN }) else { throw refuse("\(tap).sketch", "numbers", "NaN") }
      var digest = TapDigest(
        rows: rows, columns: Int(summary[1]), rms: summary[2], largest: summary[3],
        notFinite: Int(summary[4]), nan: Int(summary[5]), rowNorms: norms, sketch: sketch)
      guard digest.agrees else {
        throw refuse(
          "\(tap).summary",
          "sizes that agree with each other, the row norms and the sketch",
          "root mean square \(summary[2]), largest magnitude \(summary[3])")
      }
      digest.arithmetic = arithmetic
      return digest
    }
    return try file.tensors.filter { $0.name.hasSuffix(".summary") }.map { tensor in
      let tap = String(tensor.name.dropLast(".summary".count))
      let digest = try digest(tap)
      return StoredTensor(
        name: tap, dtype: arithmetic.dtype, shape: [digest.rows, digest.columns], source: .digest(digest))
    }
  }
}

extension TapDigest {
  /// Whether the sizes that it holds can be those of one matrix.
  fileprivate var agrees: Bool {
    let root = Double(rows * columns).squareRoot()
    let norm = rms * root
    let ofRows = rowNorms.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
    let most = Double(sketch.reduce(0) { max($0, $1.magnitude) })
    let slack = 1 + 1e-5
    // What was rounded to float32 may have become 0 or infinite.
    func isAtMost(_ a: Double, _ b: Double) -> Bool { a <= b * slack || a < 1e-30 || b > 1e37 }
    // Squares of the smallest doubles are 0.
    return rms <= largest * slack && (largest <= norm * slack || largest < 1e-150)
      && isAtMost(ofRows, norm) && (rows > Self.mostRows || isAtMost(norm, ofRows))
      // As if all magnitudes were in one bucket.
      && isAtMost(most, norm * root)
  }
}
