import Foundation
import Hummingbird
import PixtralReference
import PixtralStorage
import PixtralText

/// What there is, and who answers it. Serving.md 1.
struct Routes: HTTPResponder {
  typealias Context = ConnectionContext

  static let paths = [
    "/health", "/v1/models", "/v1/chat/completions", "/tokenize", "/detokenize",
  ]
  private static let models = "/v1/models/"

  let settings: ServerSettings
  let model: ServedModel
  let bodies: Bodies
  let remote: RemoteImages
  /// Requests and their images are read here, one after another.
  let reading: Lane
  /// Answers are computed here, one after another.
  let answering: Lane
  private let started = time(nil)

  func respond(to request: Request, context: Context) async throws -> Response {
    let clock = ContinuousClock()
    let start = clock.now
    var response: Response
    do { response = try await answer(request, context) } catch is CancellationError {
      context.logger.info("\(request.method) \(request.uri.path): the client has left")
      throw CancellationError()
    } catch {
      response = self.response(Refusal(error), to: request, context)
    }
    if request.method == .head { response = response.createHeadResponse() }
    context.logger.info(
      "\(request.method) \(request.uri.path): \(response.status.code) after \(clock.now - start)")
    return response
  }

  private func answer(_ request: Request, _ context: Context) async throws -> Response {
    let path = request.uri.path
    if path == "/health" {
      try check(request, .get)
      if answering.isStopped { throw Refusal.stopping }
      return Response(status: .ok)
    }
    try checkKey(request)
    switch path {
    case "/v1/models":
      try check(request, .get)
      return json(["object": "list", "data": .array(settings.names.map(describe))])
    case _ where path.hasPrefix(Self.models):
      try check(request, .get)
      let name = path.dropFirst(Self.models.count).removingPercentEncoding ?? path
      guard settings.names.contains(name) else {
        throw Refusal.noModel(name, served: settings.names)
      }
      return json(describe(name))
    case "/v1/chat/completions":
      try check(request, .post)
      return try await complete(request, context)
    case "/tokenize":
      try check(request, .post)
      return try await tokenize(request, context)
    case "/detokenize":
      try check(request, .post)
      return try await detokenize(request, context)
    default: throw Refusal.noPath(path)
    }
  }

  // MARK: - Answers

  private func complete(_ request: Request, _ context: Context) async throws -> Response {
    let held = Memory.Share(of: bodies.memory)
    let value = try await read(request, context, held)
    let name = try servedName(value)
    let completion = try await reading.run { _ in try CompletionRequest(value) }
    let prompt = try await prompt(of: completion.chat, held)
    let options = try completion.options(behind: prompt.tokens.count, context: settings.context)
    let report = Completion(completion, prompt: prompt.tokens, model.tokenizer, model: name)
    let model = model
    let (events, job) = try answering.events { (job, say: (AnswerEvent) -> Void) in
      defer { withExtendedLifetime(held) {} }
      try job.check()
      let answer = try withoutActuallyEscaping(say) { say in
        try model.answer(prompt, options, job, began: { say(.began) }) { say(.token($0, $1)) }
      }
      try model.checkpoint.checkWhole()
      say(.ended(answer))
    }
    // The connection may outlive the job, and with it what the request holds.
    context.whenLeft { [weak job] in
      guard let job else { return }
      answering.leave(job)
      context.channel.close(promise: nil)
    }
    return completion.isStream
      ? try await stream(events, completion, report) : try await whole(events, report)
  }

  private func tokenize(_ request: Request, _ context: Context) async throws -> Response {
    let held = Memory.Share(of: bodies.memory)
    let value = try await read(request, context, held)
    _ = try servedName(value)
    let model = model
    let asked = try await reading.run { _ in try TokenizeRequest(value) }
    let tokens =
      switch asked.content {
      case .text(let text, let begins):
        (begins ? [V7Token.beginOfSequence.rawValue] : [])
          + (try await reading.run { _ in model.tokenizer.encode(text) })
      case .chat(let chat): try await prompt(of: chat, held).tokens
      }
    return json([
      "count": .integer(tokens.count), "max_model_len": .integer(settings.context),
      "tokens": .array(tokens.map(JSON.integer)),
      "token_strs": asked.tellsPieces ? .array(model.tokenizer.pieces(of: tokens).map(JSON.string)) : .null,
    ])
  }

  private func detokenize(_ request: Request, _ context: Context) async throws -> Response {
    let value = try await read(request, context, Memory.Share(of: bodies.memory))
    _ = try servedName(value)
    let model = model
    return json([
      "prompt": .string(
        try await reading.run { _ in
          try model.tokenizer.decode(DetokenizeRequest(value, pieces: model.tokenizer.count).tokens)
        })
    ])
  }

  private func describe(_ name: String) -> JSON {
    [
      "id": .string(name), "object": "model", "created": .integer(started), "owned_by": "pixtral-ref",
      "max_model_len": .integer(settings.context),
    ]
  }

  // MARK: - Steps on the way

  /// The body of a request as JSON.
  private func read(
    _ request: Request, _ context: Context, _ held: Memory.Share
  ) async throws -> PythonValue {
    if answering.isStopped { throw Refusal.stopping }
    let type = request.headers[.contentType]
    let plain = type?.split(separator: ";", omittingEmptySubsequences: false).first ?? ""
    guard plain.lowercased().trimmingCharacters(in: .whitespaces) == "application/json" else {
      throw Refusal.wrongMediaType(type)
    }
    let bytes = try await bodies.read(request, held, goOn: context.goOn)
    let limit = settings.context * model.tokenizer.longestPiece
    return try await reading.run { _ in
      let value = try bytes.withUnsafeReadableBytes {
        try PythonValue(json: $0, place: "the body", values: 1_000_000)
      }
      guard bytes.readableBytes - value.bytesOfImages <= limit else { throw Refusal.longText(limit: limit) }
      return value
    }
  }

  /// The name that a request gives the model; the first one where it gives none.
  private func servedName(_ value: PythonValue) throws -> String {
    guard let given = value["model"], given != .none else { return settings.names[0] }
    guard let name = given.asText else {
      let error = Refusal.wrong("model", expected: "a text", found: given.dumped())
      // As pydantic has it, which reads requests for mistral-common.
      throw Refusal(status: error.status, type: "ValidationError", message: error.message, param: "model")
    }
    guard settings.names.contains(name) else { throw Refusal.noModel(name, served: settings.names) }
    return name
  }

  private func prompt(of chat: ChatRequest, _ held: Memory.Share) async throws -> Prompt {
    var loader = ImageLoader(maxPixels: settings.maxPixels)
    loader.files = settings.files.map(ImageLoader.Files.below) ?? .none
    loader.remote = try await remote.all(of: chat, held)
    let (model, ready) = (model, loader)
    return try await reading.run { _ in try model.prompt(of: chat, ready) }
  }

  private func check(_ request: Request, _ method: HTTPRequest.Method) throws {
    let allowed = method == .get ? [.get, .head] : [method]
    guard allowed.contains(request.method) else {
      throw Refusal.wrongMethod(request.method, allowed: allowed)
    }
  }

  private func checkKey(_ request: Request) throws {
    guard let key = settings.apiKey else { return }
    let words = request.headers[.authorization]?.split(separator: " ", maxSplits: 1) ?? []
    guard words.count == 2, words[0].lowercased() == "bearer", isEqual(Array(words[1].utf8), Array(key.utf8))
    else { throw Refusal.wrongKey }
  }

  /// In a time that says nothing of where two keys differ.
  private func isEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    a.count == b.count && zip(a, b).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
  }
}
