/// What Python 3.11 knows of characters: that is Unicode 14, where Swift knows a later one.

/// The character of a name or an alias, as `unicodedata.lookup` finds it; nil for none. Names of
/// sequences name no character.
///
/// Letters may be upper or lower case, but for the names that Python computes, of Hangul syllables
/// and unified ideographs.
func scalarPythonNames(_ name: String) -> Unicode.Scalar? {
  let unified = "CJK UNIFIED IDEOGRAPH-"
  if name.utf8.starts(with: unified.utf8) {
    let digits = name.utf8.dropFirst(unified.utf8.count)
    let isHexadecimal = digits.allSatisfy { (0x30...0x39).contains($0) || (0x41...0x46).contains($0) }
    guard isHexadecimal, (4...5).contains(digits.count),
      let scalar = UInt32(Substring(digits), radix: 16).flatMap(Unicode.Scalar.init),
      pythonName(scalar)?.utf8.starts(with: unified.utf8) == true
    else { return nil }
    return scalar
  }
  // Only letters of ASCII have another case here.
  let upper = String(decoding: name.utf8.map { (0x61...0x7a).contains($0) ? $0 - 32 : $0 }, as: UTF8.self)
  guard let scalar = scalarsOfNames[upper] else { return nil }
  return syllables.contains(scalar.value) && !upper.utf8.elementsEqual(name.utf8) ? nil : scalar
}

/// The name of a character, as `unicodedata.name` gives it.
func pythonName(_ scalar: Unicode.Scalar) -> String? {
  guard isInUnicode14(scalar), let name = scalar.properties.name else { return nil }
  // Python does not compute these.
  return name.utf8.starts(with: "TANGUT IDEOGRAPH-".utf8) ? nil : name
}

private func isInUnicode14(_ scalar: Unicode.Scalar) -> Bool {
  scalar.properties.age.map { $0.major <= 14 } ?? false
}

private let syllables: ClosedRange<UInt32> = 0xac00...0xd7a3

/// Where there are names, but for unified ideographs and the private planes.
private let namedRanges: [ClosedRange<UInt32>] = [
  0...0x33ff, 0x4dc0...0x4dff, 0xa000...0xd7ff, 0xf900...0x16fff, 0x18800...0x1ffff, 0x2f800...0x2fa1f,
  0xe0000...0xe0fff,
]

/// Names and aliases, but for unified ideographs; made when a pattern first asks for one.
private let scalarsOfNames: [String: Unicode.Scalar] = {
  var found: [String: Unicode.Scalar] = [:]
  for scalar in namedRanges.joined().lazy.compactMap(Unicode.Scalar.init) {
    if let name = pythonName(scalar) { found[name] = scalar }
  }
  for line in unicodeAliases.split(separator: "\n") {
    let parts = line.split(separator: " ", maxSplits: 1)
    guard let scalar = UInt32(parts[0], radix: 16).flatMap(Unicode.Scalar.init) else {
      preconditionFailure("a line of aliases begins with a code point")
    }
    for alias in parts[1].split(separator: ";") { found[String(alias)] = scalar }
  }
  // Abbreviations of the variation selectors.
  for number in 1...256 as ClosedRange<UInt32> {
    found["VS\(number)"] = Unicode.Scalar(number <= 16 ? 0xfdff + number : 0xe00ef + number)
  }
  return found
}()

/// `str.isidentifier`.
func isPythonIdentifier(_ name: String) -> Bool {
  guard let first = name.unicodeScalars.first,
    first == "_" || (isInUnicode14(first) && first.properties.isXIDStart)
  else { return false }
  return name.unicodeScalars.allSatisfy { scalar in
    // These four became part of identifiers in Unicode 15.1.
    isInUnicode14(scalar) && scalar.properties.isXIDContinue
      && !["\u{200c}", "\u{200d}", "\u{30fb}", "\u{ff65}"].contains(scalar)
  }
}

/// `str.isspace`: white space, and the four separators of ASCII, which Unicode does not count.
func isPythonSpace(_ scalar: Unicode.Scalar) -> Bool {
  scalar.properties.isWhitespace || ("\u{1c}"..."\u{1f}").contains(scalar)
}

/// `int` of a string: decimal digits of any script, single `_` between them, a sign, white space
/// around. A number that is too large for `Int` is `Int.max`.
///
/// - Returns: nil for none, and for more than 4,300 digits.
func pythonInteger(_ text: String) -> Int? {
  var scalars = Substring(text).unicodeScalars
  while scalars.first.map(isPythonSpace) == true { scalars.removeFirst() }
  while scalars.last.map(isPythonSpace) == true { scalars.removeLast() }
  let isNegative = scalars.first == "-"
  if isNegative || scalars.first == "+" { scalars.removeFirst() }
  let groups = scalars.split(separator: "_", omittingEmptySubsequences: false)
  var (value, count) = (0, 0)
  for group in groups {
    guard !group.isEmpty else { return nil }
    for scalar in group {
      guard scalar.properties.generalCategory == .decimalNumber, isInUnicode14(scalar),
        let digit = scalar.properties.numericValue
      else { return nil }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      value = overflow || product > Int.max - 9 ? .max : product + Int(digit)
      count += 1
    }
  }
  return count > 4300 ? nil : isNegative ? -value : value
}
