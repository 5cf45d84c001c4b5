import PixtralImage
import PixtralStorage
import PixtralText

/// What `pixtral-ref tokens` answers: one question, one line of JSON.
struct TokensService: Sendable {
  private let template: V7Template
  private let form: ChatRequest.Form
  private let loader: ImageLoader
  private let maxTokens: Int?
  private let onImage: @Sendable (ImageSize, String) -> Void
  private var tokenizer: Tokenizer { template.tokenizer }

  /// - form: of requests.
  /// - maxPixels: images of more are refused.
  /// - maxTokens: what a request with `truncate_for_context_length` is cut to.
  /// - onImage: gets the size of each image that is read, and its place.
  init(
    _ template: V7Template, form: ChatRequest.Form = .mistral, maxPixels: Int = ImageSize.usualMaxPixels,
    maxTokens: Int? = nil,
    onImage: @escaping @Sendable (ImageSize, String) -> Void = { _, _ in }
  ) {
    (self.template, self.form) = (template, form)
    loader = ImageLoader(maxPixels: maxPixels)
    self.maxTokens = maxTokens
    self.onImage = onImage
  }

  /// Answers one line of a stream.
  ///
  /// - line: an object with an `id`, which comes back, and one of `request`, `fim`, `text` or
  ///   `tokens`.
  /// - number: of the line, from 1; it comes back where there is no `id`, or none that can.
  /// - Returns: a line, with an `error` if the question could not be answered; nil for a line with
  ///   nothing on it.
  func answer(_ line: UnsafeRawBufferPointer, number: Int) -> [UInt8]? {
    if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d || $0 == 0x0a }) { return nil }
    var answer = JSONLine()
    var id: PythonValue?
    do {
      let question = try PythonValue(json: line, place: "line \(number)")
      id = try Self.id(of: question, "line \(number)")
      answer.add("id", id ?? .none)
      try reply(to: question, "line \(number)", &answer)
    } catch let error as InputError {
      answer = JSONLine()
      answer.add("id", id ?? .none)
      if id == nil { answer.add("line", number) }
      answer.add("error", error)
    } catch {
      preconditionFailure("a question that is refused with \(error)")
    }
    return answer.finish()
  }

  func answer(requestFile path: String) throws -> [UInt8] {
    var answer = JSONLine()
    try add(ChatRequest(file: path, images: loader, form: form), place: "", to: &answer)
    return answer.finish()
  }

  func answer(_ request: FillInRequest) -> [UInt8] {
    var answer = JSONLine()
    add(request, to: &answer)
    return answer.finish()
  }

  func answer(text: String) -> [UInt8] {
    var answer = JSONLine()
    add(text, to: &answer)
    return answer.finish()
  }

  private func reply(to question: PythonValue, _ place: String, _ answer: inout JSONLine) throws {
    let (key, value) = try Self.theQuestion(of: question, place)
    switch (key, value) {
    case ("request", _):
      let request = try ChatRequest(value, place: "request", folder: ".", images: loader, form: form)
      try add(request, place: "\(place), ", to: &answer)
    case ("fim", _): try add(FillInRequest(value, place: "fim"), to: &answer)
    case ("text", .string(let text)):
      guard !text.hasHalfSurrogate else {
        throw InputError.request("text", "Unicode text", "half of a surrogate pair", "RuntimeError")
      }
      add(text.text, to: &answer)
    case ("tokens", .list(let values)): answer.add("text", try tokenizer.decode(tokens(values)))
    default:
      throw Self.wrongLine(
        "\(place), \(key)", key == "text" ? "a string" : "an array of tokens", value.kindName)
    }
  }

  /// The id of a question, which comes back with its answer; nil for none.
  private static func id(of question: PythonValue, _ place: String) throws -> PythonValue? {
    guard let id = question["id"] else { return nil }
    let expected = "a value that comes back as it is"
    if id.holdsHalfSurrogate { throw wrongLine("\(place), id", expected, "half of a surrogate pair") }
    if id.holdsNonFinite {
      throw wrongLine(
        "\(place), id", expected, "NaN or a number beyond the range of a double", "write it as a string")
    }
    return id
  }

  private static let questions = ["request", "fim", "text", "tokens"]

  /// What a line asks: one key of those that there are, and beside it an id at most.
  private static func theQuestion(of line: PythonValue, _ place: String) throws -> (String, PythonValue) {
    let expected = "an object of id and one of \(questions.joined(separator: ", "))"
    guard case .dictionary(let members) = line else {
      let isTokens = if case .list = line { true } else { false }
      throw wrongLine(
        place, expected, line.kindName, isTokens ? "write {\"tokens\": [1, 3]} for an array of tokens" : "")
    }
    let others = members.filter { $0.key.text != "id" }
    if let unknown = others.first(where: { !questions.contains($0.key.text) }) {
      let inside = line["messages"] != nil ? "request" : line["prompt"] != nil ? "fim" : nil
      throw wrongLine(
        place, expected, "a key \"\(unknown.key.text)\"",
        inside.map { "write {\"id\": 1, \"\($0)\": …} around the request" } ?? "")
    }
    guard others.count == 1, let question = others.first else {
      let keys = others.map { "\"\($0.key.text)\"" }.joined(separator: " and ")
      throw wrongLine(place, expected, others.isEmpty ? "none of them" : keys)
    }
    return (question.key.text, question.value)
  }

  private static func wrongLine(
    _ place: String, _ expected: String, _ found: String, _ advice: String = ""
  ) -> InputError {
    InputError(
      .wrongRequest, place, expected: expected, found: found, advice: advice, exception: "ValidationError")
  }

  /// Ids of the vocabulary. What is no integer outranks an integer that is no id, wherever it is.
  private func tokens(_ values: [PythonValue]) throws -> [Int] {
    let numbers = try values.map { value in
      guard case .integer(let digits) = value else {
        throw InputError(
          .wrongTokens, "tokens", expected: "integers", found: value.kindName, exception: "TypeError")
      }
      return digits
    }
    return try numbers.enumerated().map { index, digits in
      guard let token = Int(digits), tokenizer.vocabulary.pieces.indices.contains(token) else {
        throw tokenizer.noToken(digits, at: index)
      }
      return token
    }
  }

  private func add(_ request: ChatRequest, place: String, to answer: inout JSONLine) throws {
    let images = request.loadImages(loader)
    let grids = images.map { $0.map { ImageRule.m1.grid($0.size) } }
    let rendered = try template(request, grids: grids, maxTokens: maxTokens)
    let placed = try rendered.images.map { (size: try images[$0].get().size, grid: try grids[$0].get()) }
    for (n, image) in placed.enumerated() { onImage(image.size, "\(place)image \(n)") }
    answer.add("tokens", rendered.tokens)
    answer.addText("text", rendered.tokens, of: tokenizer.vocabulary)
    let described = placed.map { image -> PythonValue in
      let sides = [
        ("width", image.size.width), ("height", image.size.height), ("columns", image.grid.columns),
        ("rows", image.grid.rows),
      ]
      return .dictionary(
        sides.map { PythonValue.Member(key: PythonString($0.0), value: .integer("\($0.1)")) })
    }
    answer.add("images", .list(described))
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
