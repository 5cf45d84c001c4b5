/// What Python's `re.compile` raises for a pattern.
enum PatternFault: Error {
  /// `re.error`, or a ValueError: no pattern.
  case malformed
  /// OverflowError: a number that C's integers do not hold.
  case tooLargeNumber
  /// RecursionError: more groups inside of one another than the stack has room for.
  case nestedTooDeep
}

/// Checks that Python's `re` compiles a pattern. Tokens.md 8.
///
/// The schema of a tool may hold patterns, and mistral-common refuses a request with one that does
/// not compile. Swift's own regular expressions have another syntax, so that the grammar of Python
/// 3.11 stands here; nothing is ever matched.
///
/// - calls: how many of Python's calls there are around it.
func checkPythonRegex(_ pattern: String, calls: Int = 0) throws(PatternFault) {
  var parser = try PatternParser(pattern)
  try parser.parse(calls: calls)
}

/// Python's recursion limit of 1,000 calls, less those that stand around a request.
let deepestCalls = 982

/// How many characters something matches: look-behind takes only what has one length.
private struct Width {
  var least = 0
  var most = 0

  static let one = Width(least: 1, most: 1)
  /// A number that no pattern can hold: one less is the largest width of a look-behind.
  static let unlimited = 1 << 32

  static func + (a: Width, b: Width) -> Width {
    Width(least: min(a.least + b.least, unlimited), most: min(a.most + b.most, unlimited))
  }

  func or(_ other: Width) -> Width { Width(least: min(least, other.least), most: max(most, other.most)) }

  func times(_ counts: ClosedRange<Int>) -> Width {
    // No factor is above 2³², so that only a product of two such overflows.
    func product(_ a: Int, _ b: Int) -> Int {
      let (value, overflow) = a.multipliedReportingOverflow(by: b)
      return overflow ? Width.unlimited : min(value, Width.unlimited)
    }
    return Width(least: product(least, counts.lowerBound), most: product(most, counts.upperBound))
  }
}

private struct PatternParser {
  /// What a pattern is read in: a character, or a backslash and the character behind it. 8.2
  private enum Unit: Equatable {
    case plain(Unicode.Scalar)
    case escaped(Unicode.Scalar)
  }

  private let text: [Unicode.Scalar]
  /// The unit to be read next, nil at the end, and where the one behind it begins.
  private var next: Unit?
  private var end = 0

  /// Widths of the groups that are closed; nil for those still open. Group 0 is the whole.
  private var groups: [Width?] = [nil]
  private var names: [PythonString: Int] = [:]
  /// The largest number that a conditional has asked for, be it defined or not.
  private var awaited = 0
  /// How many groups there were where the outermost look-behind began; nil outside of one.
  private var lookBehindStart: Int?
  /// Flags of the whole pattern.
  private var globalFlags: Set<Unicode.Scalar> = []
  private var hasQuantifier = false
  /// Whether a look-behind has no width, or too large a one, which shows at the end.
  private var hasWrongLookBehind = false

  init(_ pattern: String) throws(PatternFault) {
    text = Array(pattern.unicodeScalars)
    try advance()
  }

  mutating func parse(calls: Int) throws(PatternFault) {
    _ = try alternatives(verbose: false, calls: calls, isWhole: true)
    guard next == nil, awaited < groups.count, !globalFlags.isSuperset(of: ["a", "u"]),
      !hasWrongLookBehind, !(hasQuantifier && globalFlags.contains("t"))
    else { throw .malformed }
  }

  // MARK: Units

  /// Goes on to the next unit. A backslash at the very end is found here, while what stands before
  /// it is still being read.
  private mutating func advance() throws(PatternFault) {
    guard end < text.count else {
      next = nil
      return
    }
    let scalar = text[end]
    end += 1
    guard scalar == "\\" else {
      next = .plain(scalar)
      return
    }
    guard end < text.count else { throw .malformed }
    next = .escaped(text[end])
    end += 1
  }

  private mutating func take(_ scalar: Unicode.Scalar) throws(PatternFault) -> Bool {
    guard next == .plain(scalar) else { return false }
    try advance()
    return true
  }

  private mutating func get() throws(PatternFault) -> Unit {
    guard let unit = next else { throw .malformed }
    try advance()
    return unit
  }

  /// A character; an escape is none.
  private mutating func getPlain() throws(PatternFault) -> Unicode.Scalar {
    guard case .plain(let scalar) = try get() else { throw .malformed }
    return scalar
  }

  private mutating func expect(_ scalar: Unicode.Scalar) throws(PatternFault) {
    guard try take(scalar) else { throw .malformed }
  }

  /// What stands before a character, which is read too; not nothing.
  private mutating func until(_ end: Unicode.Scalar) throws(PatternFault) -> String {
    var found = String.UnicodeScalarView()
    while true {
      switch try get() {
      case .plain(end):
        guard !found.isEmpty else { throw .malformed }
        return String(found)
      case .plain(let scalar): found.append(scalar)
      case .escaped(let scalar): found += ["\\", scalar]
      }
    }
  }

  /// Characters of a kind, as many as there are up to a number.
  private mutating func characters(
    upTo count: Int, where isWanted: (Unicode.Scalar) -> Bool
  ) throws(PatternFault) -> String {
    var found = String.UnicodeScalarView()
    // A view would count its scalars anew each time.
    var room = count
    while room > 0, case .plain(let scalar) = next, isWanted(scalar) {
      found.append(scalar)
      room -= 1
      try advance()
    }
    return String(found)
  }

  // MARK: Branches and their items. 8.3 to 8.5

  /// - calls: of Python's there are around it.
  /// - isWhole: whether this is no group's inside.
  private mutating func alternatives(
    verbose: Bool, calls: Int, isWhole: Bool = false
  ) throws(PatternFault) -> Width {
    var width = try sequence(verbose: verbose, calls: calls + 2, mayHaveGlobalFlags: isWhole)
    while try take("|") {
      let verbose = isWhole ? globalFlags.contains("x") : verbose
      width = width.or(try sequence(verbose: verbose, calls: calls + 2))
    }
    return width
  }

  /// What may stand before a quantifier.
  private enum Item {
    case nothing, position, repeated
    case atom(Width)
  }

  private mutating func sequence(
    verbose: Bool, calls: Int, mayHaveGlobalFlags: Bool = false
  ) throws(PatternFault) -> Width {
    guard calls < deepestCalls else { throw .nestedTooDeep }
    var verbose = verbose
    // What stands before the last item, and with it.
    var (before, total) = (Width(), Width())
    var last = Item.nothing
    while let unit = next, unit != .plain("|"), unit != .plain(")") {
      try advance()
      if verbose, case .plain(let scalar) = unit {
        if isPatternSpace(scalar) { continue }
        if scalar == "#" {
          while let skipped = next {
            try advance()
            if skipped == .plain("\n") { break }
          }
          continue
        }
      }
      switch unit {
      case .escaped(let scalar): last = try escape(scalar)
      case .plain("["):
        try characterSet()
        last = .atom(.one)
      case .plain("^"), .plain("$"): last = .position
      case .plain("("):
        let isFirst = if case .nothing = last { mayHaveGlobalFlags } else { false }
        guard let group = try group(&verbose, calls: calls, mayHaveGlobalFlags: isFirst) else { continue }
        last = .atom(group)
      case .plain("*"), .plain("+"), .plain("?"), .plain("{"):
        guard let counts = try quantifier(unit) else {
          last = .atom(.one)
          break
        }
        guard case .atom(let width) = last else { throw .malformed }
        if try !take("?") { _ = try take("+") }
        hasQuantifier = true
        total = before + width.times(counts)
        last = .repeated
        continue
      default: last = .atom(.one)
      }
      before = total
      if case .atom(let width) = last { total = total + width }
    }
    return total
  }

  /// How often; nil for a brace that is only a character.
  private mutating func quantifier(_ unit: Unit) throws(PatternFault) -> ClosedRange<Int>? {
    switch unit {
    case .plain("*"): return 0...Width.unlimited
    case .plain("+"): return 1...Width.unlimited
    case .plain("?"): return 0...1
    default: break
    }
    if next == .plain("}") { return nil }
    let behindBrace = (next, end)
    let low = try characters(upTo: .max, where: isDigit)
    let high = try take(",") ? characters(upTo: .max, where: isDigit) : low
    guard try take("}") else {
      (next, end) = behindBrace
      return nil
    }
    let least = try low.isEmpty ? 0 : count(low)
    let most = try high.isEmpty ? Width.unlimited : count(high)
    guard least <= most else { throw .malformed }
    return least...most
  }

  /// A number of times, below that which means any number. Python's `int` reads no more than 4,300
  /// digits.
  private func count(_ digits: String) throws(PatternFault) -> Int {
    guard digits.utf8.count <= 4300 else { throw .malformed }
    guard let number = Int(digits), number < Width.unlimited - 1 else { throw .tooLargeNumber }
    return number
  }

  // MARK: Sets and escapes. 8.6 to 8.9

  private mutating func characterSet() throws(PatternFault) {
    _ = try take("^")
    var isEmpty = true
    while true {
      let first = try get()
      if first == .plain("]") && !isEmpty { return }
      isEmpty = false
      let low = try member(first)
      guard try take("-") else { continue }
      let second = try get()
      if second == .plain("]") { return }
      guard let high = try member(second), let low, low <= high else { throw .malformed }
    }
  }

  /// The code of a member of a set; nil for a class such as `\d`.
  private mutating func member(_ unit: Unit) throws(PatternFault) -> UInt32? {
    guard case .escaped(let scalar) = unit else {
      guard case .plain(let scalar) = unit else { return nil }
      return scalar.value
    }
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
    case "0"..."7": return try octal(scalar, upTo: 2)
    default:
      guard !isLetterOrDigit(scalar) else { throw .malformed }
      return scalar.value
    }
  }

  private mutating func escape(_ scalar: Unicode.Scalar) throws(PatternFault) -> Item {
    switch scalar {
    case "A", "b", "B", "Z": return .position
    case "d", "D", "s", "S", "w", "W", "a", "f", "n", "r", "t", "v": break
    case "x", "u", "U", "N": _ = try codePoint(scalar)
    case "0": _ = try octal(scalar, upTo: 2)
    case "1"..."9":
      guard case .plain(let second) = next, isDigit(second) else {
        return .atom(try reference(digit(scalar)))
      }
      try advance()
      if scalar <= "7", second <= "7", case .plain(let third) = next, isOctal(third) {
        try advance()
        guard scalar <= "3" else { throw .malformed }
        break
      }
      return .atom(try reference(digit(scalar) * 10 + digit(second)))
    default: guard !isLetterOrDigit(scalar) else { throw .malformed }
    }
    return .atom(.one)
  }

  /// A code of octal digits, at most 377.
  private mutating func octal(_ first: Unicode.Scalar, upTo more: Int) throws(PatternFault) -> UInt32 {
    let digits = String(first) + (try characters(upTo: more, where: isOctal))
    guard let value = UInt32(digits, radix: 8), value <= 0o377 else { throw .malformed }
    return value
  }

  private mutating func codePoint(_ kind: Unicode.Scalar) throws(PatternFault) -> UInt32 {
    if kind == "N" {
      try expect("{")
      guard let scalar = scalarPythonNames(try until("}")) else { throw .malformed }
      return scalar.value
    }
    let count = kind == "x" ? 2 : kind == "u" ? 4 : 8
    let digits = try characters(upTo: count) { $0.properties.isASCIIHexDigit }
    guard digits.utf8.count == count, let value = UInt32(digits, radix: 16) else { throw .malformed }
    // What is no code point is a ValueError to Python's `chr`, and what is no C integer is not even
    // that.
    guard value <= Int32.max else { throw .tooLargeNumber }
    guard value <= 0x10ffff else { throw .malformed }
    return value
  }

  // MARK: Groups. 8.10 to 8.16

  /// A reference to a group that is closed, and that a look-behind around it has not defined
  /// itself.
  private func reference(_ number: Int) throws(PatternFault) -> Width {
    guard number < groups.count, let width = groups[number], number < lookBehindStart ?? .max else {
      throw .malformed
    }
    return width
  }

  /// A group behind its opening parenthesis; nil for a comment or for flags, which are no items.
  private mutating func group(
    _ verbose: inout Bool, calls: Int, mayHaveGlobalFlags: Bool
  ) throws(PatternFault) -> Width? {
    guard try take("?") else { return try numberedGroup(verbose: verbose, calls: calls) }
    let kind = try getPlain()
    switch kind {
    case "P":
      if try take("=") {
        guard let number = names[PythonString(try until(")"))] else { throw .malformed }
        return try reference(number)
      }
      try expect("<")
      return try numberedGroup(try until(">"), verbose: verbose, calls: calls)
    case ":", ">": return try inside(verbose: verbose, calls: calls)
    case "#":
      while try get() != .plain(")") {}
      return nil
    case "=", "!": return try look(verbose: verbose, calls: calls)
    case "<":
      let sign = try getPlain()
      guard sign == "=" || sign == "!" else { throw .malformed }
      return try lookBehind(verbose: verbose, calls: calls)
    case "(": return try conditional(verbose: verbose, calls: calls)
    default:
      guard let flags = try flags(kind) else {
        guard mayHaveGlobalFlags else { throw .malformed }
        verbose = globalFlags.contains("x")
        return nil
      }
      let isVerbose = (verbose || flags.on.contains("x")) && !flags.off.contains("x")
      return try inside(verbose: isVerbose, calls: calls)
    }
  }

  /// Branches and the parenthesis that closes them.
  private mutating func inside(verbose: Bool, calls: Int) throws(PatternFault) -> Width {
    let width = try alternatives(verbose: verbose, calls: calls)
    try expect(")")
    return width
  }

  private mutating func numberedGroup(
    _ name: String? = nil, verbose: Bool, calls: Int
  ) throws(PatternFault) -> Width {
    let number = groups.count
    groups.append(nil)
    if let name {
      guard isPythonIdentifier(name), names.updateValue(number, forKey: PythonString(name)) == nil else {
        throw .malformed
      }
    }
    let width = try inside(verbose: verbose, calls: calls)
    groups[number] = width
    return width
  }

  private mutating func look(verbose: Bool, calls: Int) throws(PatternFault) -> Width {
    _ = try inside(verbose: verbose, calls: calls)
    return Width()
  }

  private mutating func lookBehind(verbose: Bool, calls: Int) throws(PatternFault) -> Width {
    let outer = lookBehindStart
    lookBehindStart = outer ?? groups.count
    let width = try alternatives(verbose: verbose, calls: calls)
    lookBehindStart = outer
    try expect(")")
    if width.least != width.most || width.least >= Width.unlimited { hasWrongLookBehind = true }
    return Width()
  }

  private mutating func conditional(verbose: Bool, calls: Int) throws(PatternFault) -> Width {
    let condition = try until(")")
    let number: Int
    if isPythonIdentifier(condition) {
      guard let named = names[PythonString(condition)] else { throw .malformed }
      number = named
    } else {
      guard let read = pythonInteger(condition), read > 0 else { throw .malformed }
      number = read
      awaited = max(awaited, number)
    }
    if lookBehindStart != nil { _ = try reference(number) }
    var width = try sequence(verbose: verbose, calls: calls + 1)
    width = width.or(try take("|") ? try sequence(verbose: verbose, calls: calls + 1) : Width())
    try expect(")")
    return width
  }

  /// Flags from their first on, for the group that they open; nil for those of the whole pattern.
  private mutating func flags(_ first: Unicode.Scalar) throws(PatternFault) -> (
    on: Set<Unicode.Scalar>, off: Set<Unicode.Scalar>
  )? {
    var (on, off): (Set<Unicode.Scalar>, Set<Unicode.Scalar>) = ([], [])
    var scalar = first
    while isFlag(scalar) {
      on.insert(scalar)
      guard !on.isSuperset(of: ["a", "u"]) else { throw .malformed }
      scalar = try getPlain()
    }
    if scalar == ")" && !on.isEmpty {
      globalFlags.formUnion(on)
      return nil
    }
    if scalar == "-" {
      scalar = try getPlain()
      guard isFlag(scalar) else { throw .malformed }
      while isFlag(scalar) {
        off.insert(scalar)
        scalar = try getPlain()
      }
    }
    guard scalar == ":", !on.isEmpty || !off.isEmpty, on.isDisjoint(with: off), !on.contains("t"),
      off.isDisjoint(with: ["a", "u", "t"])
    else { throw .malformed }
    return (on, off)
  }
}

private func isFlag(_ scalar: Unicode.Scalar) -> Bool { "aimstux".unicodeScalars.contains(scalar) }

private func isPatternSpace(_ scalar: Unicode.Scalar) -> Bool {
  scalar == " " || ("\t"..."\r").contains(scalar)
}

private func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }

private func isOctal(_ scalar: Unicode.Scalar) -> Bool { ("0"..."7").contains(scalar) }

private func digit(_ scalar: Unicode.Scalar) -> Int { Int(scalar.value) - 48 }

private func isLetterOrDigit(_ scalar: Unicode.Scalar) -> Bool {
  ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar) || isDigit(scalar)
}
