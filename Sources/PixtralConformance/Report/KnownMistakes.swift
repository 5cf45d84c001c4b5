import PixtralStorage

/// Docs/Faults.md, as far as a page of results quotes it: what each mistake is, and its remedy.
package struct KnownMistakes: Sendable {
  struct Mistake: Sendable {
    let id: String
    /// The tap or stage that it shows at first; several words for one that depends.
    let showsFirstAt: String
    let what: String
    let remedy: String
  }

  private(set) var all: [Mistake] = []

  subscript(id: String) -> Mistake? { all.first { $0.id == id } }

  /// Those that show at a tap first.
  func first(at tap: String) -> [Mistake] { all.filter { $0.showsFirstAt.contains("`\(tap)`") } }

  /// None: a page does without.
  package init() {}

  /// - text: the document. What is no table of mistakes and no section of one is passed over.
  package init(_ text: String) {
    var places: [String: String] = [:]
    var section: (id: String, what: [String], remedy: [String])?
    var bullet = ""
    func end() {
      guard let (id, what, remedy) = section else { return }
      all.append(
        Mistake(
          id: id, showsFirstAt: places[id] ?? "", what: what.joined(separator: " "),
          remedy: remedy.joined(separator: " ")))
      section = nil
    }
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("#") {
        end()
        if line.hasPrefix("### ") { section = (String(line.dropFirst(4)), [], []) }
        bullet = ""
      } else if line.hasPrefix("| `") {
        let cells = line.split(separator: "|").map { $0.trimmed }
        if cells.count > 2 { places[cells[0].replacing("`", with: "")] = cells[2] }
      } else if line.hasPrefix("- ") {
        bullet = line.hasPrefix("- Remedy: ") ? "remedy" : "other"
        if bullet == "remedy" { section?.remedy.append(String(line.dropFirst("- Remedy: ".count))) }
      } else if !line.trimmed.isEmpty {
        if bullet.isEmpty { section?.what.append(line.trimmed) }
        if bullet == "remedy" { section?.remedy.append(line.trimmed) }
      }
    }
    end()
  }
}

extension Substring {
  fileprivate var trimmed: String {
    String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }
}

/// A sentence of a document as text of a page: code in backticks, links without their addresses.
func html(markdown text: String) -> String {
  let plain = text.replacing(/\[([^\]]*)\]\([^)]*\)/) { "\($0.1)" }
  return plain.split(separator: "`", omittingEmptySubsequences: false).enumerated().map { n, part in
    n.isMultiple(of: 2) ? html(String(part)) : "<code>\(html(String(part)))</code>"
  }.joined()
}
