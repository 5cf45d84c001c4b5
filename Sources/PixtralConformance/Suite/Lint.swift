import PixtralReference
import PixtralStorage
import PixtralText

/// Whether a suite keeps its own rules: a sentence for each that it breaks.
///
/// Tools/checks/check_cases.py looks deeper, into schema and tensors; this needs nothing but the program.
package struct Lint {
  private let fixtures: String
  private let manifest: Manifest
  package private(set) var problems: [String] = []
  package let count: Int

  /// - fixtures: the folder that has `cases` and `manifest.json`.
  /// - Throws: `InputError` if they cannot be read at all.
  package init(_ fixtures: String, progress: (Int, Int) -> Void = { _, _ in }) throws {
    self.fixtures = fixtures
    manifest = try Manifest("\(fixtures)/manifest.json")
    let cases = try CaseFiles("\(fixtures)/cases").cases
    count = cases.count
    checkFiles(progress)
    checkIds(cases)
    for question in cases { check(question) }
    for (stage, floor) in manifest.floors.sorted(by: { $0.key < $1.key }) {
      let found = cases.count { $0.stage.rawValue == stage }
      if found < floor { problems.append("Stage \(stage) has \(found) cases, and must have \(floor).") }
    }
  }

  /// Files are those of the manifest, and unchanged.
  private mutating func checkFiles(_ progress: (Int, Int) -> Void) {
    let names = manifest.files.keys.sorted()
    for (n, name) in names.enumerated() {
      progress(n, names.count)
      let hash = SHA256()
      guard let file = try? MappedFile(plain: "\(fixtures)/\(name)") else {
        problems.append("\(name) is in the manifest, and not there.")
        continue
      }
      file.withBytes { hash.update($0) }
      if hash.hexDigest() != manifest.files[name] {
        problems.append("\(name) is another file than the manifest's.")
      }
    }
    for folder in ["cases", "endpoint", "faults", "schema"] {
      for path in (try? files(below: "\(fixtures)/\(folder)")) ?? [] {
        let name = String(path.dropFirst(fixtures.utf8.count + 1))
        if manifest.files[name] == nil { problems.append("\(name) is not in the manifest.") }
      }
    }
  }

  /// An id is the path of its case, has one case, and keeps it for ever.
  private mutating func checkIds(_ cases: [ConformanceCase]) {
    var seen: Set<String> = []
    let root = "\(absolute(fixtures))/cases/"
    for question in cases {
      let id = question.id
      if !seen.insert(id).inserted { problems.append("\(id) is there twice.") }
      let folder = question.folder.dropFirst(root.utf8.count)
      let isOwn = fileName(of: question.file) == "case.json"
      if isOwn ? id != folder : PixtralStorage.folder(of: id) != folder {
        problems.append("\(id) stands in \(folder), which is another path.")
      }
      switch manifest.cases[id] {
      case nil: problems.append("\(id) is not in the manifest.")
      case let known? where known != question.sha256:
        problems.append("\(id) is another case than the manifest's.")
      default: break
      }
      if manifest.retired.contains(id), !question.isRetired {
        problems.append("\(id) was retired, and its id is used again.")
      }
    }
    for id in manifest.cases.keys.sorted() where !seen.contains(id) {
      problems.append("\(id) is in the manifest, and has vanished: a case is retired instead.")
    }
  }

  private mutating func check(_ question: ConformanceCase) {
    func problem(_ sentence: String) { problems.append("\(question.id): \(sentence)") }
    let title = question.title
    if title.isEmpty || !title.hasSuffix(".") || title.contains("\n") || title.utf8.count > 300 {
      problem("its title is no sentence: \"\(shortened(title, to: 80))\".")
    }
    for feature in question.requires where !manifest.features.contains(feature) {
      problem("it requires \(feature), which the manifest does not define.")
    }
    if question.json["oracle"]?["name"]?.text == nil { problem("its expectation has no oracle.") }
    // Pillow's RGB and transformers' own ways have no second source.
    let needsWitness = question.stage != .rgb && !question.requires.contains("image.huggingface")
    if needsWitness, question.json["witnesses"]?.list?.isEmpty ?? true {
      problem("its expectation has no witness.")
    }
    checkLimit(question)
  }

  /// Every limit has its evidence: noise that was measured, and the limit not far above it.
  private mutating func checkLimit(_ question: ConformanceCase) {
    func problem(_ sentence: String) { problems.append("\(question.id): \(sentence)") }
    let compare = question.compare
    if compare.text == "exact" { return }
    if let envelope = compare["envelope"]?.text {
      if (try? MappedFile(plain: "\(question.folder)/\(envelope)")) == nil {
        problem("its limits have no evidence: \(envelope) is not there.")
      }
      return
    }
    for key in ["max_abs", "relF"] {
      guard let limit = compare[key]?.number else { continue }
      guard let noise = compare["noise"]?.number, noise < limit else {
        problem("its limit \(limit) has no noise below it.")
        continue
      }
      if let fault = compare["nearest_fault"]?.number, fault <= limit {
        problem("its limit \(limit) lets the nearest mistake pass, which is \(fault).")
      }
    }
  }
}
