import Glibc
import PixtralReference
import PixtralStorage
import PixtralText

/// A prompt that `trace` runs, and how it came.
struct TracedPrompt {
  /// Names the trace's folder below OUT; nil for a prompt alone, whose folder is OUT.
  let id: String?
  let prompt: Prompt
  /// Whether its tokens were given, rather than rendered from a request.
  let isGiven: Bool
  /// The files that it is read from.
  let files: [String]

  /// Which prompt it is, in messages.
  var label: String? { id.map { "request \($0)" } }
}

/// Reads the prompts of a `trace`, and makes sure that a checkpoint can take each of them.
struct TraceInputs {
  let checkpoint: Checkpoint
  /// Needed for requests only.
  let tokenizer: Tokenizer?
  let loader: ImageLoader

  /// A file each; several are named as their files are.
  func requests(_ paths: [String]) throws -> [TracedPrompt] {
    if paths.count == 1 { return [try request(file: paths[0], id: nil)] }
    let ids = TraceIDs()
    return try paths.map { path in
      let name = path.split(separator: "/").last.map(String.init) ?? path
      let id = name == "-" ? "stdin" : name.hasSuffix(".json") ? String(name.dropLast(5)) : name
      try ids.add(id, "--request \(path)", advice: "give them ids of their own, with --requests")
      return try inside("request \(id)") { try request(file: path, id: id) }
    }
  }

  /// Tokens and pixels of files.
  func tokens(_ path: String, pixels: String?) throws -> TracedPrompt {
    try checked(
      TracedPrompt(
        id: nil, prompt: Prompt(tokensFile: path, pixelsFile: pixels), isGiven: true,
        files: [path] + [pixels].compactMap(\.self)))
  }

  /// A line each: `{"id", "request"}` or `{"id", "tokens", "pixels"}`, a request and tokens written there
  /// or in a file of their own.
  func lines(of path: String) throws -> [TracedPrompt] {
    let folder = MappedFile.descriptor(named: path) == nil ? PixtralStorage.folder(of: path) : "."
    let ids = TraceIDs()
    var prompts: [TracedPrompt] = []
    try MappedFile(path).withBytes { bytes in
      let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      for (n, line) in lines.enumerated() where !line.allSatisfy({ [0x20, 0x09, 0x0d].contains($0) }) {
        let place = "\(path), line \(n + 1)"
        let value = try PythonValue(json: UnsafeRawBufferPointer(rebasing: line), place: place)
        prompts.append(try prompt(value, place, folder, ids))
      }
    }
    guard !prompts.isEmpty else {
      throw InputError(.wrongRequest, path, expected: Self.expected, found: "no line with anything on it")
    }
    return prompts
  }

  private static let expected = "lines {\"id\", \"request\"} or {\"id\", \"tokens\", \"pixels\"}"

  private func prompt(
    _ line: PythonValue, _ place: String, _ folder: String, _ ids: TraceIDs
  ) throws -> TracedPrompt {
    guard case .dictionary(let members) = line else {
      throw InputError(.wrongRequest, place, expected: Self.expected, found: line.kindName)
    }
    let id = try id(line["id"], place)
    try ids.add(id, place, advice: "it names the folder of the trace")
    return try inside("request \(id)") {
      switch (members.map(\.key.text).filter { $0 != "id" }.sorted(), line["request"], line["tokens"]) {
      case (["request"], .string(let path)?, _): try request(file: file(path.text, in: folder), id: id)
      case (["request"], let value?, _):
        try request(ChatRequest(value, place: place, folder: folder, images: loader), id: id, files: [])
      case (["tokens"], _, let tokens?), (["pixels", "tokens"], _, let tokens?):
        try given(tokens, pixels: line["pixels"], id, place, folder)
      case (let keys, _, _):
        throw InputError(
          .wrongRequest, place, expected: Self.expected,
          found: "the keys id\(keys.map { ", \($0)" }.joined())",
          advice: keys.contains("messages") ? "write {\"id\": …, \"request\": …} around the request" : "")
      }
    }
  }

  private func request(file path: String, id: String?) throws -> TracedPrompt {
    try request(ChatRequest(file: path, images: loader), id: id, files: [path])
  }

  private func request(_ request: ChatRequest, id: String?, files: [String]) throws -> TracedPrompt {
    guard let tokenizer else { preconditionFailure("a request without a tokenizer") }
    return try checked(
      TracedPrompt(
        id: id,
        prompt: Pixtral<Float>(checkpoint).prompt(of: request, tokenizer: tokenizer, images: loader),
        isGiven: false, files: files + request.imageFiles))
  }

  /// Tokens, and the file of their pixels, as a line gives them.
  private func given(
    _ tokens: PythonValue, pixels: PythonValue?, _ id: String, _ place: String, _ folder: String
  ) throws -> TracedPrompt {
    var files: [String] = []
    func path(_ value: PythonValue, _ key: String, _ expected: String) throws -> String {
      guard case .string(let text) = value else {
        throw InputError(
          .wrongTokens, "\(place), \(key)", expected: expected, found: value.kindName)
      }
      files.append(file(text.text, in: folder))
      return files[files.count - 1]
    }
    let pixelsFile = try pixels.map { try path($0, "pixels", "the path of a safetensors file") }
    let prompt: Prompt
    if case .list(let values) = tokens {
      let ids = try values.enumerated().map { n, value -> Int in
        guard case .integer(let digits) = value, let id = Int(digits) else {
          throw InputError(
            .wrongTokens, "\(place), tokens", expected: "an array of integers",
            found: "\(value.kindName) as element \(n)")
        }
        return id
      }
      prompt = try Prompt(tokens: ids, pixelsFile: pixelsFile)
    } else {
      prompt = try Prompt(
        tokensFile: path(tokens, "tokens", "an array of integers, or the path of a file"),
        pixelsFile: pixelsFile)
    }
    return try checked(TracedPrompt(id: id, prompt: prompt, isGiven: true, files: files))
  }

  private func checked(_ traced: TracedPrompt) throws -> TracedPrompt {
    try traced.prompt.check(against: checkpoint.parameters)
    return traced
  }

  private func file(_ path: String, in folder: String) -> String {
    path.hasPrefix("/") ? path : "\(folder)/\(path)"
  }

  /// What goes wrong in one of several prompts says in which.
  private func inside<Result>(_ label: String, _ body: () throws -> Result) throws -> Result {
    do { return try body() } catch let error as InputError { throw error.inside(label) }
  }
}

// MARK: - Ids, which name folders

extension TraceInputs {
  private func id(_ value: PythonValue?, _ place: String) throws -> String {
    switch value {
    case .string(let text) where !text.hasHalfSurrogate: return text.text
    case .integer(let digits): return digits
    default:
      throw InputError(
        .wrongRequest, "\(place), id", expected: "a string or an integer", found: value?.kindName ?? "none",
        advice: "it names the folder of the trace")
    }
  }
}

/// The ids of prompts that are run together: paths below OUT, none of which lies in another's folder.
private struct TraceIDs {
  /// A folder that an id names or lies in.
  private final class Folder {
    /// Where its id was given.
    var place: String?
    var folders: [String: Folder] = [:]
  }

  private let out = Folder()
  /// The most that the system takes, with a zero behind it.
  private static let longest = Int(PATH_MAX) - 1

  /// - Throws: `InputError` of kind `wrongRequest`.
  func add(_ id: String, _ place: String, advice: String) throws {
    func refuse(_ expected: String, _ found: String) -> InputError {
      InputError(.wrongRequest, "\(place), id", expected: expected, found: found, advice: advice)
    }
    guard id.utf8.count <= Self.longest else {
      throw refuse("a path of at most \(Self.longest) bytes", "\(id.utf8.count)")
    }
    // By scalars, as the system sees a path: an accent behind a slash does not make it another character.
    let parts = id.unicodeScalars.split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
    let isPath = parts.allSatisfy { !["", ".", ".."].contains($0) && !$0.hasSuffix(NewFile.partialSuffix) }
    let isPlain = id.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
    guard isPath, isPlain else { throw refuse("the name of a folder below OUT", "\"\(id)\"") }
    var folder = out
    for (n, part) in parts.enumerated() {
      let inner = folder.folders[part] ?? Folder()
      folder.folders[part] = inner
      folder = inner
      if let other = folder.place {
        let path = parts[...n].joined(separator: "/")
        throw refuse("a folder of its own", "\"\(id)\" beside \"\(path)\" of \(other)")
      }
    }
    guard folder.folders.isEmpty else {
      throw refuse("a folder of its own", "\"\(id)\", which holds other ids")
    }
    folder.place = place
  }
}
