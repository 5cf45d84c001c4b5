import PixtralReference
import PixtralStorage

/// `Fixtures/manifest.json`: what the suite consists of. Tools/goldens/make_manifest.py writes it.
package struct Manifest: Sendable {
  /// The suite's own version: two reports of one version were asked the same.
  package let version: String
  /// SHA-256 of the manifest, and so of the suite.
  package let sha256: String
  /// What a case may require of a runtime.
  package let features: Set<String>
  /// The fewest cases that a stage may have.
  package let floors: [String: Int]
  /// Ids that are never used again.
  package let retired: Set<String>
  /// SHA-256 of each file, by its path from `Fixtures`.
  package let files: [String: String]
  /// SHA-256 of each case as it is written, by its id.
  package let cases: [String: String]

  /// - Throws: `InputError` for what is no manifest.
  package init(_ path: String) throws {
    let hash = SHA256()
    try MappedFile(plain: path).withBytes { hash.update($0) }
    sha256 = hash.hexDigest()
    let json = try JSON(file: path, upTo: 1 << 24)
    func refuse(_ key: String, _ expected: String) -> InputError {
      InputError(
        .wrongRequest, "\(path), \(key)", expected: expected,
        found: json[key].map { shortened($0.text(), to: 40) } ?? "nothing",
        advice: "Tools/goldens/make_manifest.py writes it")
    }
    func members(_ key: String) throws -> [JSON.Member] {
      guard case .object(let members)? = json[key] else { throw refuse(key, "an object") }
      return members
    }
    func strings(_ key: String) throws -> [String: String] {
      var strings: [String: String] = [:]
      for member in try members(key) {
        guard case .string(let value) = member.value, strings.updateValue(value, forKey: member.key) == nil
        else {
          throw refuse("\(key).\(member.key)", "one string")
        }
      }
      return strings
    }
    guard case .string(let version)? = json["version"] else { throw refuse("version", "a string") }
    guard json["schema"] == .integer(1) else { throw refuse("schema", "1") }
    guard case .array(let retired)? = json["retired"] else { throw refuse("retired", "an array of ids") }
    self.version = version
    self.retired = Set(retired.map(\.plainText))
    features = Set(try strings("features").keys)
    floors = try members("floors").reduce(into: [:]) { floors, member in
      guard case .integer(let floor) = member.value else { throw refuse("floors", "numbers of cases") }
      floors[member.key] = floor
    }
    files = try strings("files")
    cases = try strings("cases")
  }
}
