import PixtralReference
import PixtralStorage

/// What a runtime says of itself.
package struct RuntimeDescription: Sendable, Equatable {
  package let name: String
  package let version: String
  package let arithmetic: Arithmetic
  package let features: Set<String>

  init(name: String, version: String, arithmetic: Arithmetic, features: Set<String>) {
    (self.name, self.version, self.arithmetic, self.features) = (name, version, arithmetic, features)
  }

  /// Whether several sessions of it may go on at a time.
  package var mayRunInParallel: Bool { features.contains("parallel") }

  /// Features that nobody asks for, in their order: a misspelled one is not asked, in silence.
  ///
  /// - required: what cases may require.
  package func unknownFeatures(beside required: Set<String>) -> [String] {
    features.subtracting(AnswerFiles.features).subtracting(required)
      .subtracting(["trace.request", "parallel", "endpoint"]).sorted()
  }

  /// What a runtime has that names no feature of its kind: what mistral-common does.
  private static let usual: [String: Set<String>] = [
    "image.": ["image.png", "image.jpeg", "image.alpha"], "resize.": ["resize.opencv-cubic"],
    "multi-image": ["multi-image"],
  ]

  /// - Throws: `InputError` of kind `wrongRequest` for an answer to `hello` that says less.
  init(_ answer: JSON, place: String = "the runtime's answer to hello") throws {
    func refuse(_ key: String, _ expected: String) -> InputError {
      InputError(
        .wrongRequest, "\(place), \(key)", expected: expected,
        found: answer[key].map { shortened($0.text()) } ?? "nothing",
        advice: "Docs/Conformance.md has the protocol")
    }
    guard case .string(let name)? = answer["name"] else { throw refuse("name", "a string") }
    guard case .string(let text)? = answer["arithmetic"], let arithmetic = Arithmetic(rawValue: text) else {
      throw refuse("arithmetic", Arithmetic.names)
    }
    guard case .array(let listed)? = answer["features"] else {
      throw refuse("features", "an array of strings")
    }
    self.name = name
    version = answer["version"]?.plainText ?? ""
    self.arithmetic = arithmetic
    var features: Set<String> = []
    for value in listed {
      guard case .string(let feature) = value else { throw refuse("features", "an array of strings") }
      features.insert(feature)
    }
    for (kind, usual) in Self.usual where !features.contains(where: { $0.hasPrefix(kind) }) {
      features.formUnion(usual)
    }
    self.features = features
  }
}

/// A runtime in a session: JSON, an object a line, over its standard input and output. Conformance.md.
package final class Runtime: Answering {
  package let description: RuntimeDescription
  /// Where both sides put files.
  private let folder: String
  private let command: String
  private let timeout: Double
  private var process: RuntimeProcess
  private var next = 0
  private var loaded: String?
  /// Starts since the last answer.
  private var fruitlessStarts = 0

  /// - command: for a shell.
  /// - folder: for files of both sides.
  /// - timeout: seconds that an answer may take.
  /// - Throws: `InputError` for a runtime that cannot be started or does not say what it is.
  package init(_ command: String, folder: String, timeout: Double) throws {
    (self.command, self.folder, self.timeout) = (command, folder, timeout)
    process = try RuntimeProcess(command)
    description = try RuntimeDescription(Self.greet(process, command, folder, timeout))
  }

  private static func greet(
    _ process: RuntimeProcess, _ command: String, _ folder: String, _ timeout: Double
  ) throws -> JSON {
    let hello: JSON = ["op": "hello", "protocol": .integer(1), "folder": .string(folder)]
    func refuse(_ found: String) -> InputError {
      let words = process.lastWords
      return InputError(
        .unreadableFile, command, expected: "an answer to hello", found: found,
        advice: words.isEmpty ? "" : "it said: \(words)")
    }
    let line: [UInt8]
    do { line = try process.ask(Array("\(hello.text())\n".utf8), within: timeout) } catch {
      throw refuse(Self.sentence(error, timeout))
    }
    do { return try JSON(parsing: String(decoding: line, as: UTF8.self), place: "its answer to hello") } catch
    {
      throw refuse("\(error)")
    }
  }

  private static func sentence(_ failure: RuntimeProcess.Failure, _ timeout: Double) -> String {
    switch failure {
    case .ended(let how): "the process ended, \(how)"
    case .timedOut: "none in \(numberText(timeout)) seconds"
    case .tooLong: "a line of more than 1 MiB"
    }
  }

  package func folder(of question: ConformanceCase) -> String { folder }

  package func ask(
    _ question: ConformanceCase, _ op: String, _ members: [(key: String, json: [UInt8])]
  ) -> Answer { ask(op, members) }

  private func ask(_ op: String, _ members: [(key: String, json: [UInt8])]) -> Answer {
    next += 1
    var line = Array(#"{"op":"\#(op)","id":\#(next)"#.utf8)
    for member in members { line += Array(#","\#(member.key)":"#.utf8) + member.json.map(withoutLineEnd) }
    line += Array("}\n".utf8)
    do throws(RuntimeProcess.Failure) {
      let answer = try process.ask(line, within: timeout)
      fruitlessStarts = 0
      return read(answer)
    } catch {
      let words = process.lastWords
      let detail = Self.sentence(error, timeout) + (words.isEmpty ? "" : "; it said: \(words)")
      restart()
      switch error {
      case .ended: return .crashed(detail)
      case .timedOut: return .timedOut
      case .tooLong: return .malformed(detail)
      }
    }
  }

  private func read(_ line: [UInt8]) -> Answer {
    func malformed(_ what: String) -> Answer {
      // Who has lost the thread is started anew.
      restart()
      return .malformed(what)
    }
    let text = String(decoding: line, as: UTF8.self)
    guard let json = try? JSON(parsing: text, place: "the answer"), case .object = json else {
      return malformed("no object of JSON: \(shortened(text, to: 100))")
    }
    guard json["id"] == .integer(next) else {
      return malformed(
        "the id \(json["id"].map { shortened($0.text(), to: 40) } ?? "none") instead of \(next)")
    }
    return Answer(json)
  }

  /// A new process in the place of one that is gone. One that cannot be started will be asked in vain.
  private func restart() {
    loaded = nil
    fruitlessStarts += 1
    guard fruitlessStarts <= 3, let process = try? RuntimeProcess(command) else { return }
    self.process = process
    _ = try? Self.greet(process, command, folder, timeout)
  }

  /// Once for all questions about it.
  package func load(_ question: ConformanceCase, _ folder: (CheckpointLayout) throws -> String) throws
    -> Answer?
  {
    let checkpoint = try folder(layout)
    if loaded == checkpoint { return nil }
    let answer = ask(
      "load",
      [
        ("checkpoint", JSON.string(checkpoint).bytes),
        ("layout", JSON.string(layout.rawValue).bytes),
      ])
    guard case .value = answer else { return answer }
    loaded = checkpoint
    return nil
  }
}

extension JSON {
  /// Its text, in one line.
  var bytes: [UInt8] { Array(text().utf8) }
}

/// JSON may have line ends between its tokens; in a session a line is one object.
private func withoutLineEnd(_ byte: UInt8) -> UInt8 {
  byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") ? UInt8(ascii: " ") : byte
}
