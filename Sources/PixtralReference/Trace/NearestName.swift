/// The name that was meant by one that is not there: one that it ends with, behind a prefix of its
/// own; else the one that the fewest insertions, deletions and changes make of it.
///
/// - Returns: nil if none is near.
func nearest(_ name: String, of names: [String]) -> String? {
  if let tail = names.filter({ name.hasSuffix(".\($0)") }).max(by: { $0.utf8.count < $1.utf8.count }) {
    return tail
  }
  let wanted = Array(name.utf8)
  let limit = wanted.count / 4
  let near = names.filter { abs($0.utf8.count - wanted.count) <= limit }
    .map { (name: $0, edits: edits(wanted, Array($0.utf8))) }
    .min { $0.edits < $1.edits }
  return near.flatMap { $0.edits <= limit ? $0.name : nil }
}

/// How many insertions, deletions and changes make one text of another (Levenshtein's distance), a
/// row of the table at a time.
private func edits(_ a: [UInt8], _ b: [UInt8]) -> Int {
  var row = Array(0...b.count)
  for (i, byte) in a.enumerated() {
    var corner = row[0]
    row[0] = i + 1
    for j in b.indices {
      let change = corner + (byte == b[j] ? 0 : 1)
      corner = row[j + 1]
      row[j + 1] = min(change, row[j] + 1, row[j + 1] + 1)
    }
  }
  return row[b.count]
}
