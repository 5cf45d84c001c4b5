import PixtralStorage

/// A case of stage `model`, as far as a comparison needs it: where its tensors are, of what run they
/// are, which rows it keeps, and its own limits. Cases.md, compare.
struct CaseReference: Sendable {
  /// The file of tensors or digests beside it.
  let tensors: String
  let run: RunDescription
  /// The rows that the case keeps of a tap, in ascending order; all of any other tap.
  let rows: [String: [Int]]
  private let sha256: String?
  private let limits: [Arithmetic: Double]
  /// The noise of right runs of this case; nil if it has none beside it.
  private let noise: Noise?

  /// - Throws: `InputError` of kind `wrongTrace` for what is no whole case: a comparison that falls
  ///   back to other rows or limits would pass as the case's.
  init(file path: String) throws {
    let json = try JSON(file: path)
    func refuse(_ key: String, _ expected: String, _ found: JSON?) -> InputError {
      InputError(
        .wrongTrace, key.isEmpty ? path : "\(path), \(key)", expected: expected,
        found: found.map { shortened($0.text()) } ?? "nothing", advice: "Docs/Cases.md has the keys of a case"
      )
    }
    guard json["stage"] == "model" else { throw refuse("stage", #""model""#, json["stage"]) }
    guard case .string(let model)? = json["model"], model.hasPrefix("seeded:") else {
      throw refuse("model", "the name of a seeded model", json["model"])
    }
    guard let expect = json["expect"], case .string(let tensors)? = expect["tensors"] ?? expect["digest"],
      isNameBeside(tensors)
    else {
      throw refuse(
        "expect.tensors", "the name of a file beside it, or one under digest", json["expect"]?["tensors"])
    }
    guard let tokens = expect["tokens"]?.integers, !tokens.isEmpty else {
      throw refuse("expect.tokens", "an array of integers", expect["tokens"])
    }
    self.tensors = tensors
    sha256 = try expect["sha256"].map { value in
      guard case .string(let digest) = value else { throw refuse("expect.sha256", "a string", value) }
      return digest
    }
    run = try RunDescription(model: model, expect: expect)

    var rows: [String: [Int]] = [:]
    for (tap, value) in try Self.members(expect["rows"] ?? [:], refuse, "expect.rows") {
      let count = run.rows(of: tap) ?? 0
      guard let kept = value.integers, !kept.isEmpty, zip(kept, kept.dropFirst()).allSatisfy(<),
        kept[0] >= 0, kept[kept.count - 1] < count
      else { throw refuse("expect.rows.\(tap)", "ascending rows of the tap's \(count)", value) }
      rows[tap] = kept
    }
    self.rows = rows

    var limits: [Arithmetic: Double] = [:]
    var noise: Noise?
    for (name, value) in try Self.members(json["compare"] ?? .null, refuse, "compare") {
      if name == "envelope" {
        guard case .string(let file) = value, isNameBeside(file) else {
          throw refuse("compare.envelope", "the name of a file beside it", value)
        }
        noise = try Noise(envelope: "\(path.dropLast("case.json".utf8.count))\(file)", of: model)
        continue
      }
      guard let arithmetic = Arithmetic(rawValue: name) else {
        throw refuse("compare", "envelope, or arithmetics: \(Arithmetic.names)", .string(name))
      }
      guard let relF = value["relF"]?.decimal, relF >= 0, relF.isFinite else {
        throw refuse("compare.\(name)", "relF, a number that is not negative", value)
      }
      limits[arithmetic] = relF
    }
    guard !limits.isEmpty || noise != nil else {
      throw refuse("compare", "an envelope, or a limit for one arithmetic at least", json["compare"])
    }
    (self.limits, self.noise) = (limits, noise)
  }

  private static func members(_ json: JSON, _ refuse: (String, String, JSON?) -> InputError, _ key: String)
    throws -> [(String, JSON)]
  {
    guard case .object(let members) = json else { throw refuse(key, "an object", json) }
    return members.map { ($0.key, $0.value) }
  }

  /// Makes sure that the file of tensors is the one that the case speaks of.
  ///
  /// - Throws: `InputError` of kind `wrongTrace`.
  func check(_ tensors: [StoredTensor], _ path: String) throws {
    for tensor in tensors {
      guard let rows = rows[tensor.name], tensor.shape.first != rows.count else { continue }
      throw InputError(
        .wrongTrace, "\(path), tensor \(tensor.name)",
        expected: "\(counted(rows.count, "row")), as expect.rows has them",
        found: "\(tensor.shape)")
    }
    if let sha256 {
      let hash = SHA256()
      try MappedFile(path).withBytes { hash.update($0) }
      let found = hash.hexDigest()
      guard found == sha256 else {
        throw InputError(
          .wrongTrace, path, expected: "SHA-256 \(sha256), as case.json has it", found: found,
          advice: "take both files of the case anew")
      }
    }
  }

  /// The limit of a tap in an arithmetic; nil where the case has none.
  func limit(_ tap: String, _ arithmetic: Arithmetic) -> DistanceLimit? {
    if let relF = limits[arithmetic] { return DistanceLimit(wholeRelF: relF) }
    return noise?.at(tap, arithmetic).map { DistanceLimit(noise: $0.relF) }
  }
}

/// Whether a name is that of a file beside the case: a path leads elsewhere, and so does what C reads of a
/// name with a NUL.
private func isNameBeside(_ name: String) -> Bool {
  !name.isEmpty && !name.utf8.contains(UInt8(ascii: "/")) && !name.utf8.contains(0)
}
