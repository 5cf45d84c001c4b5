import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText

/// A server with OpenAI's routes as a runtime: what it can tell is found out by asking, not by its name.
/// Conformance.md, An endpoint.
package final class Endpoint: Answering {
  package let description: RuntimeDescription
  let server: Server
  /// What is asked beside the cases of tokens; nil if nothing is.
  let suite: EndpointSuite?
  let declared: Declared
  private let template: V7Template
  private let transport: any Transport
  private var tokenized: [String: PromptTokens] = [:]

  /// - Parameters:
  ///   - transport: who answers.
  ///   - place: what it is called in errors.
  /// - Throws: `InputError` for a server that does not answer, or tells nothing that can be judged.
  package init(
    _ transport: any Transport, place: String, _ declared: Declared = Declared(), tokenizer: Tokenizer,
    suite: EndpointSuite? = nil
  ) throws {
    func refuse(_ expected: String, _ found: String, _ advice: String = "") -> InputError {
      InputError(.unreadableFile, "--endpoint \(place)", expected: expected, found: found, advice: advice)
    }
    let name = try declared.model ?? Self.firstModel(transport, refuse)
    do throws(NoReply) {
      server = try Server(transport, model: name, tokenizer: tokenizer)
    } catch { throw transport.failure ?? refuse("a server that answers", error.description) }
    if let failure = transport.failure { throw failure }
    (self.transport, self.suite, self.declared) = (transport, suite, declared)
    template = V7Template(tokenizer: tokenizer)
    let can = server.capabilities
    guard can.tokens != nil || can.counts || can.best > 0 else {
      throw refuse(
        "the tokens of a prompt, of /tokenize or of return_token_ids, their number under usage, or log-probabilities",
        can.trouble.map { "none, and for log-probabilities \($0)" } ?? server.firstAnswer,
        server.isRefusingKeys
          ? "give the right --key" : can.trouble == nil ? "give --model if that is another" : "")
    }
    description = RuntimeDescription(
      name: server.model, version: place, arithmetic: declared.arithmetic,
      features: Set(
        (can.tokens == nil && !can.counts ? [] : ["tokens", "tokens.openai"])
          + (suite == nil ? [] : ["endpoint"])
          + ["image.png", "image.jpeg", "image.alpha", "multi-image", declared.images.feature]))
  }

  /// Why the verdicts are about no server.
  package var failure: InputError? { transport.failure }

  /// The address without what is no part of it: `/v1`, or a slash.
  ///
  /// - Throws: `InputError` for what is no address of a server.
  package static func address(_ text: String) throws(InputError) -> String {
    var address = Substring(text)
    for end in ["/", "/v1"] where address.hasSuffix(end) { address = address.dropLast(end.utf8.count) }
    let isWeb = ["http://", "https://"].contains(where: address.hasPrefix)
    let host = address.split(separator: "/").first.map { $0.split(separator: ":") } ?? []
    let hasPort = host.count == 2 && Int(host[1]) != nil
    guard isWeb || hasPort, !address.contains(where: { "?# ".contains($0) || $0.isNewline }) else {
      throw InputError(
        .wrongArgument, "--endpoint \(shortened(shown(text)))",
        expected: "http://HOST:PORT, or a file that --bodies has kept",
        found: "no address, and no file that can be read")
    }
    return String(address)
  }

  /// The address as it may be shown: without a user's name and password.
  package static func shown(_ address: String) -> String {
    guard let end = address.firstRange(of: "://")?.upperBound,
      let at = address[end...].prefix(while: { $0 != "/" }).lastIndex(of: "@")
    else { return address }
    return String(address[..<end] + address[address.index(after: at)...])
  }

  // MARK: - Questions

  package func folder(of question: ConformanceCase) -> String { "." }

  package func lacking(_ feature: String) -> String {
    feature == ImagesRule.huggingface.feature
      ? "the server is judged by mistral-common's rule of images, and --images says otherwise"
      : "the runtime does not claim \(feature)"
  }

  package func load(_ question: ConformanceCase, _ folder: (CheckpointLayout) throws -> String) -> Answer? {
    .unsupported("a server has its checkpoint already")
  }

  package func ask(
    _ question: ConformanceCase, _ op: String, _ members: [(key: String, json: [UInt8])]
  ) throws -> Answer {
    func value(_ key: String) throws -> PythonValue? {
      guard let json = members.first(where: { $0.key == key })?.json else { return nil }
      return try json.withUnsafeBytes { try PythonValue(json: $0, place: key) }
    }
    do throws(NoReply) {
      switch op {
      case "render":
        guard case .dictionary(let members)? = try? value("request") else {
          return .unsupported("a server takes objects only")
        }
        let request = PythonValue.dictionary(members)
        guard request["model"] == nil else {
          return .unsupported("the request names a model, and a server its own")
        }
        // Each takes a completion.
        let isRandom = question.isMinor || question.id.contains("/random-")
        guard server.capabilities.tokens != nil || !isRandom else {
          return .unsupported("a server that tells numbers of tokens alone is asked the rules alone")
        }
        guard !request.holdsHalfSurrogate else {
          return .unsupported("half of a surrogate pair is not sent on as it came")
        }
        // A completion would heed what else a request has.
        let told = ["messages", "tools", "continue_final_message"]
        let isWhole = server.capabilities.tokens == .tokenize
        let sent = isWhole ? members : members.filter { told.contains($0.key.text) }
        let form = (try? value("form")) == nil ? ChatRequest.Form.mistral : .openAI
        guard !isRuledOtherwise(request, form) else {
          return .unsupported("the server follows another rule for an image that is scaled")
        }
        guard tokens(of: request, form) == tokens(of: .dictionary(sent), .openAI) else {
          return .unsupported("what can be sent of the request in OpenAI's form says something else")
        }
        let reply = try server.tokens(sent.map { ($0.key.text, $0.value) })
        return Self.answer(reply.status, reply.json, reply.text) { _ in reply.told }
      case "encode" where server.capabilities.tokens == .tokenize:
        let reply = try server.send(
          "/tokenize",
          [
            ("prompt", (try? value("text")) ?? PythonValue.none), ("add_special_tokens", .boolean(false)),
          ])
        return Self.answer(reply.status, reply.json, reply.text) { ["tokens": $0["tokens"] ?? .null] }
      case "decode" where server.capabilities.tokens == .tokenize:
        let reply = try server.send(
          "/detokenize", [("tokens", (try? value("tokens")) ?? PythonValue.none)])
        return Self.answer(reply.status, reply.json, reply.text) { ["text": $0["prompt"] ?? .null] }
      default: return .unsupported("a server cannot be asked this")
      }
    } catch {
      switch error {
      case .timedOut: return .timedOut
      case .broken(let how): return .crashed(how)
      }
    }
  }

  /// What is told of a prompt's tokens.
  enum PromptTokens {
    case told([Int])
    /// Not them, but perhaps their number.
    case none
    /// The server has told others before, and of these this.
    case lacking(Server.Outcome)
  }

  /// The tokens of a prompt of the suite, as a completion tells them, or else /tokenize.
  func tokens(of prompt: String, _ told: Told) -> PromptTokens {
    if let tokens = told.tokens { return .told(tokens) }
    guard server.capabilities.tokens == .tokenize, case .dictionary(let members)? = suite?.request(prompt)
    else { return .none }
    if let tokens = tokenized[prompt] { return tokens }
    let tokens: PromptTokens
    do throws(NoReply) {
      let reply = try server.tokens(members.map { ($0.key.text, $0.value) })
      let message = Server.message(reply.json, reply.text)
      tokens =
        switch (reply.told["tokens"]?.integers, reply.status) {
        case (let found?, _): .told(found)
        case (nil, 200): .lacking(.malformed("no tokens of /tokenize, which it has told before"))
        // A route that takes no images, say: then the number has to do.
        case (nil, 400..<500) where told.count != nil: .none
        case (nil, 400..<500): .lacking(.refused(reply.status, "/tokenize: \(message)"))
        default: .lacking(.crashed("/tokenize, status \(reply.status): \(message)"))
        }
    } catch { tokens = .lacking(error.outcome) }
    tokenized[prompt] = tokens
    return tokens
  }

  /// A request as it is read here, with its images; nil if it is refused.
  private func read(
    _ request: PythonValue, _ form: ChatRequest.Form
  ) -> (chat: ChatRequest, images: [Result<LoadedImage, InputError>])? {
    let loader = ImageLoader()
    guard let chat = try? ChatRequest(request, place: "request", folder: ".", images: loader, form: form)
    else { return nil }
    return (chat, chat.loadImages(loader))
  }

  /// What a request comes to here; nil if it is refused.
  private func tokens(of request: PythonValue, _ form: ChatRequest.Form) -> [Int]? {
    guard let (chat, images) = read(request, form) else { return nil }
    return try? template(chat, grids: images.map { $0.map { ImageRule.m1.grid($0.size) } }).tokens
  }

  /// Whether an image of a request is so large that transformers' rule may give it other tokens.
  private func isRuledOtherwise(_ request: PythonValue, _ form: ChatRequest.Form) -> Bool {
    guard declared.images == .huggingface, let images = read(request, form)?.images else { return false }
    return images.contains { image in
      guard let size = try? image.get().size else { return false }
      return max(size.width, size.height) > ImageRule.m1.longestSide
    }
  }

  /// The answer of a session in what came: an answer, a refusal, or what is neither.
  ///
  /// - read: the answer in an object.
  private static func answer(_ status: Int, _ json: JSON?, _ text: String, _ read: (JSON) -> JSON) -> Answer {
    switch status {
    case 200:
      guard let json, case .object = json else {
        return .malformed("no object of JSON: \(shortened(text, to: 100))")
      }
      return .value(read(json))
    case 400, 404, 413, 422: return .rejected("status \(status): \(Server.message(json, text))")
    default: return .crashed("status \(status): \(shortened(text, to: 200))")
    }
  }

  /// The first model of the list.
  private static func firstModel(
    _ transport: any Transport, _ refuse: (String, String, String) -> InputError
  ) throws -> String {
    let reply: Reply
    do throws(NoReply) { reply = try transport.get("/v1/models") } catch {
      throw transport.failure ?? refuse("a server that answers", error.description, "")
    }
    guard reply.status == 200 else {
      throw refuse(
        "status 200 of /v1/models", "\(reply.status)", reply.status == 401 ? "give the right --key" : "")
    }
    let listed = try reply.json("/v1/models")
    guard case .array(let models)? = listed["data"], case .string(let id)? = models.first?["id"] else {
      throw refuse("the name of a model under /v1/models", "none", "give --model")
    }
    return id
  }
}
