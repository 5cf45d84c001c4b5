import Glibc
import PixtralStorage

/// The names that the patterns of `--taps` choose.
///
/// - patterns: shell patterns, `*` matching dots too; one with `!` in front takes names away. Without
///   any that adds, all ordinary names are there to begin with.
/// - onDemand: names that are not ordinary. A pattern that matches any ordinary name takes only
///   ordinary ones; one that matches nothing else takes these.
/// - place: what has the names, for the error.
/// - Throws: `InputError` of kind `wrongTap` for a pattern that matches nothing, and if nothing is
///   left.
func choose(
  _ patterns: [String], among names: [String], onDemand: Set<String> = [], of place: String
) throws -> Set<String> {
  func refuse(_ pattern: String, _ expected: String, _ advice: String) -> InputError {
    InputError(.wrongTap, "--taps \(pattern)", expected: expected, found: "none", advice: advice)
  }
  var chosen = Set(names).subtracting(onDemand)
  if patterns.contains(where: { !$0.hasPrefix("!") }) { chosen = [] }
  // Those that add come first, wherever they stand.
  for pattern in patterns.filter({ !$0.hasPrefix("!") }) + patterns.filter({ $0.hasPrefix("!") }) {
    let takesAway = pattern.hasPrefix("!")
    let matching = names.filter { $0.matches(glob: takesAway ? String(pattern.dropFirst()) : pattern) }
    guard !matching.isEmpty else {
      let near = nearest(takesAway ? String(pattern.dropFirst()) : pattern, of: names)
      throw refuse(
        pattern, "a pattern that matches a tap of \(place)",
        pattern.contains { "{}".contains($0) }
          ? "braces are no part of a pattern; write two, with a comma between them"
          : near.map { "did you mean \($0)?" } ?? "Docs/Model.md, section 8, lists them")
    }
    if takesAway {
      chosen.subtract(matching)
    } else {
      let ordinary = matching.filter { !onDemand.contains($0) }
      chosen.formUnion(ordinary.isEmpty ? matching : ordinary)
    }
  }
  guard !chosen.isEmpty else {
    throw refuse(patterns.joined(separator: ","), "patterns that leave a tap of \(place)", "take fewer away")
  }
  return chosen
}

extension String {
  /// Whether a name matches a shell pattern; `*` matches dots too.
  func matches(glob: String) -> Bool { fnmatch(glob, self, 0) == 0 }
}
