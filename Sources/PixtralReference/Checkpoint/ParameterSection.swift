import PixtralStorage

/// One object of params.json or config.json, and what has been found in it.
struct ParameterSection {
  let members: [JSON.Member]
  let place: String
  /// Keys that were missing, and what a library takes instead: that has been taken here too.
  private(set) var defaults: [ParametersFile.Default] = []
  /// Keys that make it another model, or contradict one another.
  private(set) var refusals: [InputError] = []
  private var read: Set<String> = []

  init(_ json: JSON, _ place: String) throws {
    guard case .object(let members) = json else {
      throw InputError(.wrongParameters, place, expected: "a JSON object", found: json.text())
    }
    self.members = members
    self.place = place
  }

  var unread: [String] { members.map(\.key).filter { !read.contains($0) } }

  /// Keys that change nothing here.
  mutating func ignore(_ keys: [String]) { read.formUnion(keys) }

  /// A key that changes nothing here, but must not be nonsense.
  mutating func ignoreCount(_ key: String) throws {
    if let value = optional(key), value != .null { _ = try count(key) }
  }

  mutating func section(_ key: String) throws -> ParameterSection {
    try ParameterSection(try value(key, "an object"), "\(place), \(key)")
  }

  /// No size of a model is larger; no product or sum of what is allowed here leaves 63 bits.
  static let largest = 1 << 20

  /// A whole number above 0.
  ///
  /// - absent: the value that the format has if there is no such key, or null.
  mutating func count(_ key: String, or absent: Int? = nil, upTo largest: Int = Self.largest) throws -> Int {
    if let absent, optional(key) ?? .null == .null { return absent }
    let value = try value(key, "a whole number")
    guard case .integer(let number) = value, (1...largest).contains(number) else {
      throw wrong(key, "a whole number from 1 to \(largest)", value.text())
    }
    return number
  }

  /// A whole number above 0, or a library's default where there is no such key.
  mutating func count(_ key: String, default number: Int, upTo largest: Int = Self.largest) throws -> Int {
    if optional(key) == nil { defaults.append(.init(place: "\(place), \(key)", value: .integer(number))) }
    return try optional(key) == nil ? number : count(key, upTo: largest)
  }

  /// A finite number above 0.
  mutating func positive(_ key: String) throws -> Double {
    let value = try value(key, "a number")
    guard let number = value.decimal, number > 0, number.isFinite else {
      throw wrong(key, "a number above 0", value.text())
    }
    return number
  }

  /// A finite number above 0, or a library's default where there is no such key.
  mutating func positive(_ key: String, default number: Double) throws -> Double {
    if optional(key) == nil { defaults.append(.init(place: "\(place), \(key)", value: .number(number))) }
    return try optional(key) == nil ? number : positive(key)
  }

  /// - absent: the value that the format has if there is no such key.
  mutating func flag(_ key: String, or absent: Bool) throws -> Bool {
    guard let value = optional(key) else { return absent }
    guard case .bool(let flag) = value else { throw wrong(key, "true or false", value.text()) }
    return flag
  }

  /// true or false, or a library's default where there is no such key.
  mutating func flag(_ key: String, default flag: Bool) throws -> Bool {
    if optional(key) == nil { defaults.append(.init(place: "\(place), \(key)", value: .bool(flag))) }
    return try self.flag(key, or: flag)
  }

  /// Keys whose every other value would mean another architecture.
  mutating func refuseOtherModels(_ keys: [(key: String, same: [JSON])]) {
    for (key, same) in keys {
      guard let value = optional(key), value != .null, !same.contains(value) else { continue }
      let allowed = (same + [.null]).map { $0.text() }.joined(separator: ", ")
      let other = same.isEmpty || same == [.bool(false)] ? "none" : "no other"
      refusals.append(
        wrong(key, "\(allowed) or no such key: Pixtral has \(other)", value.text()))
    }
  }

  /// Keys without which a library would compute another model.
  ///
  /// - same: the values that mean Pixtral.
  /// - otherwise: what the library takes where there is no such key.
  mutating func requireSame(_ keys: [(key: String, same: [JSON], otherwise: String)]) {
    for (key, same, otherwise) in keys {
      let value = optional(key)
      if let value, same.contains(value) { continue }
      refusals.append(
        wrong(
          key, "\(same.map { $0.text() }.joined(separator: " or ")): Pixtral has no other",
          value?.text() ?? "no such key, for which transformers takes \(otherwise)"))
    }
  }

  mutating func refuse(_ key: String, _ expected: String, _ found: String, advice: String = "") {
    refusals.append(
      InputError(.wrongParameters, "\(place), \(key)", expected: expected, found: found, advice: advice))
  }

  /// Notes a number that contradicts another.
  mutating func agree(_ holds: Bool, _ key: String, _ expected: String, _ found: Int) {
    if !holds { refuse(key, expected, "\(found)") }
  }

  mutating func optional(_ key: String) -> JSON? {
    read.insert(key)
    return members.first { $0.key == key }?.value
  }

  private mutating func value(_ key: String, _ expected: String) throws -> JSON {
    guard let value = optional(key) else { throw wrong(key, expected, "no such key") }
    return value
  }

  func wrong(_ key: String, _ expected: String, _ found: String) -> InputError {
    InputError(.wrongParameters, "\(place), \(key)", expected: expected, found: found)
  }
}
