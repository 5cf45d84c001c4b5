/// What `pixtral-ref tokens` answers: one question, one line of JSON.
public struct TokensService: Sendable {
  private let template: V7Template
  private let maxTokens: Int?
  private let onImage: @Sendable (ImageSize, String) -> Void
  private var tokenizer: Tokenizer { template.tokenizer }

  /// - maxTokens: what a request with `truncate_for_context_length` is cut to.
  /// - onImage: gets the size of each image that is read, and its place.
  public init(_ template: V7Template, maxTokens: Int? = nil, onImage: @escaping @Sendable (ImageSize, String) -> Void = { _, _ in }) {
    self.template = template
    self.maxTokens = maxTokens
    self.onImage = onImage
  }

  /// Answers one line of a stream.
  ///
  /// - line: an object with an `id`, which comes back, and one of `request`, `fim`, `text` or `tokens`.
  /// - number: of the line, from 1.
  /// - Returns: a line, with an `error` if the question could not be answered; nil for a line with nothing on it.
  public func answer(_ line: UnsafeRawBufferPointer, number: Int) -> [UInt8]? {
    if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d || $0 == 0x0a }) { return nil }
    var answer = JSONLine()
    var id: PythonValue?
    do {
      let question = try PythonValue(json: line, place: "line \(number)")
      id = question["id"]
      answer.add("id", id ?? .none)
      try reply(to: question, "line \(number), ", &answer)
    } catch {
      answer = JSONLine()
      answer.add("id", id ?? .none)
      if id == nil { answer.add("line", number) }
      answer.add(error as! InputError)
    }
    return answer.finish()
  }

  public func answer(_ request: ChatRequest) throws -> [UInt8] {
    var answer = JSONLine()
    try add(request, place: "", to: &answer)
    return answer.finish()
  }

  public func answer(_ request: FillInRequest) -> [UInt8] {
    var answer = JSONLine()
    add(request, to: &answer)
    return answer.finish()
  }

  public func answer(text: String) -> [UInt8] {
    var answer = JSONLine()
    add(text, to: &answer)
    return answer.finish()
  }

  private func reply(to question: PythonValue, _ place: String, _ answer: inout JSONLine) throws {
    if let request = question["request"] {
      try add(ChatRequest(request, place: "request", folder: "."), place: place, to: &answer)
    } else if let request = question["fim"] {
      try add(FillInRequest(request, place: "fim"), to: &answer)
    } else if case .string(let text)? = question["text"] {
      guard !text.hasHalfSurrogate else { throw refuse("text", "Unicode text", "half of a surrogate pair", "RuntimeError") }
      add(text.text, to: &answer)
    } else if case .list(let values)? = question["tokens"] {
      answer.add("text", try tokenizer.decode(values.map(tokenID)))
    } else {
      throw InputError(
        .wrongRequest, "line", expected: "an object with request, fim, text or tokens", found: question.kindName,
        exception: "ValidationError")
    }
  }

  private func tokenID(_ value: PythonValue) throws -> Int {
    guard case .integer(let digits) = value else {
      throw InputError(.wrongTokens, "tokens", expected: "integers", found: value.kindName, exception: "TypeError")
    }
    // What does not fit is outside of every vocabulary.
    return Int(digits) ?? -1
  }

  private func add(_ request: ChatRequest, place: String, to answer: inout JSONLine) throws {
    let rendered = try template(request, maxTokens: maxTokens)
    for (n, image) in rendered.images.enumerated() { onImage(image.size, "\(place)image \(n)") }
    answer.add("tokens", rendered.tokens)
    answer.addText("text", rendered.tokens, of: tokenizer.vocabulary)
    let images = rendered.images.map { image -> PythonValue in
      let grid = template.imageRule.grid(width: image.width, height: image.height)
      return .dictionary(
        [("width", image.width), ("height", image.height), ("columns", grid.columns), ("rows", grid.rows)].map {
          PythonValue.Member(key: PythonString($0.0), value: .integer("\($0.1)"))
        })
    }
    answer.add("images", .list(images))
  }

  private func add(_ request: FillInRequest, to answer: inout JSONLine) {
    let tokens = tokenizer.encode(request)
    answer.add("tokens", tokens)
    answer.addText("text", tokens, of: tokenizer.vocabulary)
  }

  private func add(_ text: String, to answer: inout JSONLine) {
    let tokens = tokenizer.encode(text)
    answer.add("tokens", tokens)
    answer.addPieces("pieces", tokens, of: tokenizer.vocabulary)
  }
}

/// An object on its way to a line. Long lists of tokens are written straight into it, without a tree of values in between.
private struct JSONLine {
  private var bytes: [UInt8] = [UInt8(ascii: "{")]

  private mutating func key(_ key: String) {
    if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
    bytes += "\"\(key)\":".utf8
  }

  mutating func add(_ key: String, _ value: PythonValue) {
    self.key(key)
    value.write(to: &bytes, compact: true)
  }

  mutating func add(_ key: String, _ text: String) {
    self.key(key)
    writeJSONString(text, to: &bytes)
  }

  mutating func add(_ key: String, _ number: Int) {
    self.key(key)
    bytes += String(number).utf8
  }

  mutating func add(_ key: String, _ numbers: [Int]) {
    list(key, numbers) { number, bytes in writeDecimal(number, to: &bytes) }
  }

  /// The pieces of tokens as one string.
  mutating func addText(_ key: String, _ tokens: [Int], of vocabulary: Vocabulary) {
    self.key(key)
    bytes.append(UInt8(ascii: "\""))
    for token in tokens { writeEscaped(vocabulary.pieces[token].text, to: &bytes) }
    bytes.append(UInt8(ascii: "\""))
  }

  mutating func addPieces(_ key: String, _ tokens: [Int], of vocabulary: Vocabulary) {
    list(key, tokens) { token, bytes in writeJSONString(vocabulary.pieces[token].text, to: &bytes) }
  }

  mutating func add(_ error: InputError) {
    add("error", ["type": .string(PythonString(error.type)), "message": .string(PythonString("\(error)"))])
  }

  private mutating func list(_ key: String, _ elements: [Int], _ write: (Int, inout [UInt8]) -> Void) {
    self.key(key)
    bytes.append(UInt8(ascii: "["))
    for (index, element) in elements.enumerated() {
      if index > 0 { bytes.append(UInt8(ascii: ",")) }
      write(element, &bytes)
    }
    bytes.append(UInt8(ascii: "]"))
  }

  consuming func finish() -> [UInt8] {
    bytes += [UInt8(ascii: "}"), UInt8(ascii: "\n")]
    return bytes
  }
}

/// A number that is not negative. `String(number)` would make a string for each token.
private func writeDecimal(_ number: Int, to bytes: inout [UInt8]) {
  if number >= 10 { writeDecimal(number / 10, to: &bytes) }
  bytes.append(UInt8(ascii: "0") + UInt8(number % 10))
}
