import PixtralStorage

/// `consolidated.safetensors.index.json` or `model.safetensors.index.json`: which file holds which tensor.
/// It is read anew for each question, so that nothing of it is kept but the names of files that are there.
struct ShardIndex {
  /// Its path.
  let path: String
  /// The files that it names, sorted.
  let files: [String]

  /// - name: its own.
  /// - names: what there is in the folder.
  /// - Throws: `InputError`, of kind `wrongTensors` if it names a file that is not beside it.
  init(folder: String, _ name: String, _ names: [String]) throws {
    let path = "\(folder)/\(name)"
    let names = Set(names)
    var named: Set<String> = []
    try Self.visit(path) { tensor, file in
      // A path leads elsewhere, and so does what C reads of a name with a NUL.
      guard !file.utf8.contains(0), !file.utf8.contains(UInt8(ascii: "/")), !file.isEmpty else {
        throw InputError(
          .wrongTensors, "\(path), \(tensor)", expected: "the name of a file beside it", found: file)
      }
      guard names.contains(file) else {
        throw InputError(
          .wrongTensors, "\(path), \(tensor)", expected: "the file \(file) beside it", found: "no such file",
          advice: "is a shard still to be downloaded?")
      }
      named.insert(file)
    }
    self.path = path
    files = named.sorted()
  }

  /// Calls a function with each tensor's name and file.
  func visit(_ body: (_ tensor: String, _ file: String) throws -> Void) throws {
    try Self.visit(path, body)
  }

  private static func visit(_ path: String, _ body: (_ tensor: String, _ file: String) throws -> Void)
    throws
  {
    func refuse(_ place: String, _ expected: String, _ found: String) -> InputError {
      InputError(.wrongTensors, place, expected: expected, found: found)
    }
    try MappedFile(path).withBytes { text in
      var reader = try JSONReader(text, place: path)
      let map = "an object weight_map from tensor names to files"
      guard case .beginObject = try reader.next() else { throw refuse(path, map, reader.excerpt(from: 0)) }
      var hasMap = false
      while case .key(let key) = try reader.next() {
        let start = reader.offset
        let value = try reader.next()
        guard reader.string(key) == "weight_map" else {
          try reader.skip(value)
          continue
        }
        guard case .beginObject = value else { throw refuse(path, map, reader.excerpt(from: start)) }
        hasMap = true
        while case .key(let key) = try reader.next() {
          let tensor = reader.string(key)
          let start = reader.offset
          guard case .string(let file) = try reader.next() else {
            throw refuse("\(path), \(tensor)", "the name of a file beside it", reader.excerpt(from: start))
          }
          try body(tensor, reader.string(file))
        }
      }
      // Nothing may follow.
      _ = try reader.next()
      guard hasMap else { throw refuse(path, map, "none") }
    }
  }
}
