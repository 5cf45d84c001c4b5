/// Whether Python's `re` compiles a pattern. Tokens.md 8.
///
/// The schema of a tool may hold patterns, and mistral-common refuses a request with one that does
/// not compile. Swift's own regular expressions have another syntax, so that the grammar of Python
/// 3.11 stands here; nothing is ever matched.
func isPythonRegex(_ pattern: String) -> Bool {
  var parser = PatternParser(pattern)
  return (try? parser.parse()) != nil
}

private struct Malformed: Error {}

/// How many characters something matches: look-behind takes only what has one length.
private struct Width {
  var least = 0
  var most = 0

  static let one = Width(least: 1, most: 1)
  static let unlimited = 1 << 32

  static func + (a: Width, b: Width) -> Width {
    Width(least: min(a.least + b.least, unlimited), most: min(a.most + b.most, unlimited))
  }

  func or(_ other: Width) -> Width { Width(least: min(least, other.least), most: max(most, other.most)) }

  func times(_ counts: ClosedRange<Int>) -> Width {
    func product(_ a: Int, _ b: Int) -> Int {
      let (value, overflow) = a.multipliedReportingOverflow(by: b)
      return overflow ? Width.unlimited : min(value, Width.unlimited)
    }
    return Width(least: product(least, counts.lowerBound), most: product(most, counts.upperBound))
  }
}

private struct PatternParser {
  private let text: [Unicode.Scalar]
  private var at = 0
  /// Widths of the groups that are closed; nil for those still open. Group 0 is the whole.
  private var groups: [Width?] = [nil]
  private var names: [PythonString: Int] = [:]
  /// Groups asked for by a conditional before they are defined.
  private var awaited = 0
  /// How many groups there were where the outermost look-behind began; nil outside of one.
  private var lookBehindStart: Int?
  private var globalTypes: Set<Unicode.Scalar> = []

  init(_ pattern: String) { text = Array(pattern.unicodeScalars) }

  mutating func parse() throws {
    var verbose = false
    _ = try alternatives(&verbose, depth: 0)
    guard at == text.count, awaited < groups.count, globalTypes.count < 2 else { throw Malformed() }
  }

  private var next: Unicode.Scalar? { at < text.count ? text[at] : nil }

  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard next == scalar else { return false }
    at += 1
    return true
  }

  private mutating func get() throws -> Unicode.Scalar {
    guard let scalar = next else { throw Malformed() }
    at += 1
    return scalar
  }

  private mutating func expect(_ scalar: Unicode.Scalar) throws {
    guard take(scalar) else { throw Malformed() }
  }

  private mutating func until(_ end: Unicode.Scalar) throws -> String {
    var found = String.UnicodeScalarView()
    while true {
      let scalar = try get()
      if scalar == end { break }
      found.append(scalar)
    }
    guard !found.isEmpty else { throw Malformed() }
    return String(found)
  }

  private mutating func alternatives(_ verbose: inout Bool, depth: Int) throws -> Width {
    guard depth < 300 else { throw Malformed() }
    var width = try sequence(&verbose, depth: depth, mayHaveGlobalFlags: depth == 0)
    while take("|") { width = width.or(try sequence(&verbose, depth: depth, mayHaveGlobalFlags: false)) }
    return width
  }

  /// What may stand before a quantifier.
  private enum Item {
    case nothing, position, repeated
    case atom(Width)
  }

  private mutating func sequence(_ verbose: inout Bool, depth: Int, mayHaveGlobalFlags: Bool) throws -> Width
  {
    var total = Width()
    var last = Item.nothing
    while let scalar = next, scalar != "|", scalar != ")" {
      at += 1
      if verbose {
        if " \t\n\r\u{b}\u{c}".unicodeScalars.contains(scalar) { continue }
        if scalar == "#" {
          while let skipped = next, skipped != "\n" { at += 1 }
          continue
        }
      }
      var item = Item.atom(.one)
      switch scalar {
      case "\\": item = try escape()
      case "[": try characterSet()
      case "^", "$": item = .position
      case "(":
        let isFirst: Bool
        if case .nothing = last { isFirst = mayHaveGlobalFlags } else { isFirst = false }
        guard let group = try self.group(&verbose, depth: depth, mayHaveGlobalFlags: isFirst) else {
          continue
        }
        item = .atom(group)
      case "*", "+", "?", "{":
        guard let counts = try quantifier(scalar) else { break }
        guard case .atom(let width) = last else { throw Malformed() }
        if !take("?") { _ = take("+") }
        // The atom was counted once already.
        let repeated = width.times(counts)
        total = Width(
          least: total.least - width.least + repeated.least, most: total.most - width.most + repeated.most)
        last = .repeated
        continue
      default: break
      }
      if case .atom(let width) = item { total = total + width }
      last = item
    }
    return total
  }

  /// How often; nil for a brace that is only a character.
  private mutating func quantifier(_ scalar: Unicode.Scalar) throws -> ClosedRange<Int>? {
    switch scalar {
    case "*": return 0...Width.unlimited
    case "+": return 1...Width.unlimited
    case "?": return 0...1
    default: break
    }
    if next == "}" { return nil }
    let start = at
    let low = digits()
    let high = take(",") ? digits() : low
    guard take("}") else {
      at = start
      return nil
    }
    let least = low.isEmpty ? 0 : Int(low) ?? Width.unlimited
    let most = high.isEmpty ? Width.unlimited : Int(high) ?? Width.unlimited
    guard least <= most else { throw Malformed() }
    return least...most
  }

  private mutating func digits() -> String {
    var found = ""
    while let scalar = next, ("0"..."9").contains(scalar) {
      found.unicodeScalars.append(scalar)
      at += 1
    }
    return found
  }

  private mutating func characterSet() throws {
    _ = take("^")
    var isEmpty = true
    while true {
      let first = try get()
      if first == "]" && !isEmpty { return }
      isEmpty = false
      let low = first == "\\" ? try escapeInSet() : first.value
      guard take("-") else { continue }
      let second = try get()
      if second == "]" { return }
      let high = second == "\\" ? try escapeInSet() : second.value
      guard let low, let high, low <= high else { throw Malformed() }
    }
  }

  /// The code of an escaped character in a set; nil for a class such as `\d`.
  private mutating func escapeInSet() throws -> UInt32? {
    let scalar = try get()
    switch scalar {
    case "d", "D", "s", "S", "w", "W": return nil
    case "a": return 7
    case "b": return 8
    case "f": return 12
    case "n": return 10
    case "r": return 13
    case "t": return 9
    case "v": return 11
    case "x", "u", "U", "N": return try codePoint(scalar)
    case "0"..."7":
      at -= 1
      return try octal(upTo: 3)
    default:
      guard !isASCIILetter(scalar), !("8"..."9").contains(scalar) else { throw Malformed() }
      return scalar.value
    }
  }

  private mutating func escape() throws -> Item {
    let scalar = try get()
    switch scalar {
    case "A", "b", "B", "Z": return .position
    case "d", "D", "s", "S", "w", "W", "a", "f", "n", "r", "t", "v": return .atom(.one)
    case "x", "u", "U", "N": _ = try codePoint(scalar)
    case "0": _ = try octal(upTo: 2)
    case "1"..."9":
      var number = Int(scalar.value - 48)
      if let second = next, ("0"..."9").contains(second) {
        at += 1
        let isOctal = scalar <= "7" && second <= "7"
        if isOctal, let third = next, ("0"..."7").contains(third) {
          at -= 2
          _ = try octal(upTo: 3)
          return .atom(.one)
        }
        number = number * 10 + Int(second.value - 48)
      }
      return .atom(try reference(number))
    default: guard !isASCIILetter(scalar) else { throw Malformed() }
    }
    return .atom(.one)
  }

  private mutating func octal(upTo count: Int) throws -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<count {
      guard let digit = next, ("0"..."7").contains(digit) else { break }
      value = value * 8 + digit.value - 48
      at += 1
    }
    guard value <= 0o377 else { throw Malformed() }
    return value
  }

  private mutating func codePoint(_ kind: Unicode.Scalar) throws -> UInt32 {
    if kind == "N" {
      try expect("{")
      let name = try until("}").uppercased()
      guard
        let scalar = (0...0x10ffff).lazy.compactMap({ Unicode.Scalar($0) }).first(where: {
          $0.properties.name == name
        })
      else {
        throw Malformed()
      }
      return scalar.value
    }
    let count = kind == "x" ? 2 : kind == "u" ? 4 : 8
    guard at + count <= text.count, text[at..<at + count].allSatisfy({ $0.properties.isASCIIHexDigit }) else {
      throw Malformed()
    }
    var digits = String.UnicodeScalarView()
    digits.append(contentsOf: text[at..<at + count])
    at += count
    guard let value = UInt32(String(digits), radix: 16), value <= 0x10ffff else { throw Malformed() }
    return value
  }

  /// A reference to a group that is closed, and that a look-behind around it has not defined
  /// itself.
  private func reference(_ number: Int) throws -> Width {
    guard number < groups.count, let width = groups[number] else { throw Malformed() }
    if let lookBehindStart, number >= lookBehindStart { throw Malformed() }
    return width
  }

  /// A group behind its opening parenthesis; nil for a comment or for flags, which are no items.
  private mutating func group(_ verbose: inout Bool, depth: Int, mayHaveGlobalFlags: Bool) throws -> Width? {
    var captures = true
    var name: String?
    var inner = verbose
    if take("?") {
      captures = false
      let kind = try get()
      switch kind {
      case "P":
        if take("=") {
          guard let number = names[PythonString(try until(")"))] else { throw Malformed() }
          return try reference(number)
        }
        try expect("<")
        name = try until(">")
        captures = true
      case ":", ">": break
      case "#":
        while try get() != ")" {}
        return nil
      case "=", "!", "<": return try look(kind, verbose, depth: depth)
      case "(": return try conditional(verbose, depth: depth)
      case _ where kind == "-" || isFlag(kind):
        guard let flags = try flags(kind, mayBeGlobal: mayHaveGlobalFlags) else {
          verbose = verbose || globalVerbose
          return nil
        }
        inner = (inner || flags.on.contains("x")) && !flags.off.contains("x")
      default: throw Malformed()
      }
    }
    var number: Int?
    if captures {
      number = groups.count
      groups.append(nil)
      if let name {
        guard isIdentifier(name), names[PythonString(name)] == nil else { throw Malformed() }
        names[PythonString(name)] = number
      }
    }
    let width = try alternatives(&inner, depth: depth + 1)
    try expect(")")
    if let number { groups[number] = width }
    return width
  }

  private mutating func look(_ kind: Unicode.Scalar, _ verbose: Bool, depth: Int) throws -> Width {
    var inner = verbose
    let isBehind = kind == "<"
    if isBehind {
      let sign = try get()
      guard sign == "=" || sign == "!" else { throw Malformed() }
    }
    let outer = lookBehindStart
    if isBehind && outer == nil { lookBehindStart = groups.count }
    let width = try alternatives(&inner, depth: depth + 1)
    if isBehind { lookBehindStart = outer }
    try expect(")")
    guard !isBehind || width.least == width.most else { throw Malformed() }
    return Width()
  }

  private mutating func conditional(_ verbose: Bool, depth: Int) throws -> Width {
    var inner = verbose
    let condition = try until(")")
    if isIdentifier(condition) {
      guard let number = names[PythonString(condition)] else { throw Malformed() }
      if let lookBehindStart, number >= lookBehindStart { throw Malformed() }
    } else {
      guard let number = Int(condition), number > 0 else { throw Malformed() }
      if let lookBehindStart, number >= lookBehindStart { throw Malformed() }
      awaited = max(awaited, number)
    }
    var width = try sequence(&inner, depth: depth, mayHaveGlobalFlags: false)
    width = width.or(take("|") ? try sequence(&inner, depth: depth, mayHaveGlobalFlags: false) : Width())
    try expect(")")
    return width
  }

  private var globalVerbose = false

  /// Flags from their first on: for the group that they open, or nil for the whole pattern, which
  /// must then begin with them.
  private mutating func flags(_ first: Unicode.Scalar, mayBeGlobal: Bool) throws -> (
    on: Set<Unicode.Scalar>, off: Set<Unicode.Scalar>
  )? {
    var (on, off): (Set<Unicode.Scalar>, Set<Unicode.Scalar>) = ([], [])
    var scalar = first
    while isFlag(scalar) {
      on.insert(scalar)
      scalar = try get()
    }
    guard !on.isSuperset(of: ["a", "u"]) else { throw Malformed() }
    if scalar == ")" {
      guard mayBeGlobal else { throw Malformed() }
      globalTypes.formUnion(on.intersection(["a", "u"]))
      globalVerbose = globalVerbose || on.contains("x")
      return nil
    }
    if scalar == "-" {
      scalar = try get()
      guard isFlag(scalar) else { throw Malformed() }
      while isFlag(scalar) {
        guard scalar != "a", scalar != "u" else { throw Malformed() }
        off.insert(scalar)
        scalar = try get()
      }
    }
    guard scalar == ":", on.isDisjoint(with: off) else { throw Malformed() }
    return (on, off)
  }
}

private func isFlag(_ scalar: Unicode.Scalar) -> Bool { "aimsux".unicodeScalars.contains(scalar) }

private func isASCIILetter(_ scalar: Unicode.Scalar) -> Bool {
  ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar)
}

private func isIdentifier(_ name: String) -> Bool {
  guard let first = name.unicodeScalars.first, first == "_" || first.properties.isXIDStart else {
    return false
  }
  return name.unicodeScalars.allSatisfy(\.properties.isXIDContinue)
}
