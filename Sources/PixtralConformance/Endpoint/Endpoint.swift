import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText

/// A server with OpenAI's routes as a runtime: what it can tell is found out by asking, not by its name.
/// Conformance.md, An endpoint.
package final class Endpoint: Answering {
  package let description: RuntimeDescription
  private let client: HTTPClient
  private let model: String
  /// How the tokens of a request are told.
  private let way: Way
  private let template: V7Template

  /// How a server tells the tokens of a request.
  private enum Way {
    /// `POST /tokenize`.
    case tokenize
    /// `prompt_token_ids` of a chat completion, where `return_token_ids` asks for them.
    case completion
  }

  /// - Parameters:
  ///   - address: such as `http://127.0.0.1:8000`; a `/v1` behind it is no part of it.
  ///   - model: what the model is called there; nil for the first that the server lists.
  ///   - arithmetic: what it computes in, which no server tells.
  /// - Throws: `InputError` for a server that does not answer, or tells no tokens.
  package init(
    _ address: String, model: String?, key: String?, arithmetic: Arithmetic, timeout: Double,
    tokenizer: Tokenizer
  ) throws {
    var address = Substring(address)
    for end in ["/", "/v1"] where address.hasSuffix(end) { address = address.dropLast(end.utf8.count) }
    let client = HTTPClient(String(address), key: key, timeout: timeout)
    func refuse(_ expected: String, _ found: String, _ advice: String = "") -> InputError {
      InputError(.unreadableFile, "--endpoint \(address)", expected: expected, found: found, advice: advice)
    }
    let listed: JSON
    do {
      let reply = try client.get("/v1/models")
      guard reply.status == 200 else {
        throw refuse("status 200 of /v1/models", "\(reply.status)", reply.status == 401 ? "give --key" : "")
      }
      listed = try JSON(parsing: String(decoding: reply.body, as: UTF8.self), place: "/v1/models")
    } catch let failure as HTTPClient.Failure { throw refuse("a server that answers", failure.description) }
    var first: String?
    if case .array(let models)? = listed["data"], case .string(let id)? = models.first?["id"] { first = id }
    guard let name = model ?? first else {
      throw refuse("the name of a model under /v1/models", "none", "give --model")
    }
    let (found, said) = try Self.way(client, name, refuse)
    guard let way = found else {
      throw refuse(
        "the tokens of a prompt, of /tokenize or of return_token_ids", said,
        "give --model if that is another; a server that tells no tokens cannot be judged yet")
    }
    (self.client, self.model, self.way) = (client, name, way)
    template = V7Template(tokenizer: tokenizer)
    description = RuntimeDescription(
      name: name, version: String(address), arithmetic: arithmetic,
      features: [
        "tokens", "tokens.openai", "image.png", "image.jpeg", "image.alpha", "multi-image",
      ])
  }

  /// How the server tells tokens, found out with a request that any server takes; nil if it does not, and what
  /// it says instead.
  private static func way(
    _ client: HTTPClient, _ model: String, _ refuse: (String, String, String) -> InputError
  ) throws -> (way: Way?, said: String) {
    var said = ""
    let message: PythonValue = [
      "role": .string(PythonString("user")), "content": .string(PythonString("Hi")),
    ]
    for way in [Way.tokenize, .completion] {
      let probe = [PythonValue.Member(key: PythonString("messages"), value: .list([message]))]
      do {
        switch try ask(client, way, model, probe) {
        case .value(let answer) where answer["tokens"]?.integers != nil: return (way, "")
        case .rejected(let why), .crashed(let why), .malformed(let why): said = why
        default: said = "neither"
        }
      } catch { throw refuse("a server that answers", error.description, "") }
    }
    return (nil, said)
  }

  // MARK: - Questions

  package func folder(of question: ConformanceCase) -> String { "." }

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
    do throws(HTTPClient.Failure) {
      switch op {
      case "render":
        guard case .dictionary(let members)? = try? value("request") else {
          return .unsupported("a server takes objects only")
        }
        let request = PythonValue.dictionary(members)
        guard request["model"] == nil else {
          return .unsupported("the request names a model, and a server its own")
        }
        guard !request.holdsHalfSurrogate else {
          return .unsupported("half of a surrogate pair is not sent on as it came")
        }
        // A completion would heed what else a request has.
        let told = ["messages", "tools", "continue_final_message"]
        let sent = way == .tokenize ? members : members.filter { told.contains($0.key.text) }
        let form = (try? value("form")) == nil ? ChatRequest.Form.mistral : .openAI
        guard tokens(of: request, form) == tokens(of: .dictionary(sent), .openAI) else {
          return .unsupported("what can be sent of the request in OpenAI's form says something else")
        }
        return try Self.ask(client, way, model, sent)
      case "encode" where way == .tokenize:
        let asked = [
          ("model", .string(PythonString(model))), ("prompt", (try? value("text")) ?? .none),
          ("add_special_tokens", PythonValue.boolean(false)),
        ]
        return try Self.send(client, "/tokenize", asked) { ["tokens": $0["tokens"] ?? .null] }
      case "decode" where way == .tokenize:
        let asked = [
          ("model", .string(PythonString(model))), ("tokens", (try? value("tokens")) ?? PythonValue.none),
        ]
        return try Self.send(client, "/detokenize", asked) { ["text": $0["prompt"] ?? .null] }
      default: return .unsupported("a server cannot be asked this")
      }
    } catch {
      switch error {
      case .timedOut: return .timedOut
      case .broken(let how): return .crashed(how)
      }
    }
  }

  /// What a request comes to here; nil if it is refused.
  private func tokens(of request: PythonValue, _ form: ChatRequest.Form) -> [Int]? {
    let loader = ImageLoader()
    guard let chat = try? ChatRequest(request, place: "request", folder: ".", images: loader, form: form)
    else { return nil }
    let grids = chat.loadImages(loader).map { $0.map { ImageRule.m1.grid($0.size) } }
    return try? template(chat, grids: grids).tokens
  }

  /// The tokens of a request.
  ///
  /// - members: of the request.
  private static func ask(
    _ client: HTTPClient, _ way: Way, _ model: String, _ members: [PythonValue.Member]
  ) throws(HTTPClient.Failure) -> Answer {
    var asked =
      [("model", PythonValue.string(PythonString(model)))] + members.map { ($0.key.text, $0.value) }
    if way == .tokenize { return try send(client, "/tokenize", asked) { ["tokens": $0["tokens"] ?? .null] } }
    asked += [("max_tokens", .integer("1")), ("return_token_ids", .boolean(true))]
    return try send(client, "/v1/chat/completions", asked) { ["tokens": $0["prompt_token_ids"] ?? .null] }
  }

  /// Sends an object, and reads what comes: an answer, a refusal in OpenAI's form, or what is neither.
  ///
  /// - read: the answer of a session in what came.
  private static func send(
    _ client: HTTPClient, _ path: String, _ members: [(String, PythonValue)], _ read: (JSON) -> JSON
  ) throws(HTTPClient.Failure) -> Answer {
    var body: [UInt8] = []
    PythonValue.dictionary(members.map { .init(key: PythonString($0.0), value: $0.1) })
      .write(to: &body, compact: true)
    let reply = try client.post(path, body)
    let text = String(decoding: reply.body, as: UTF8.self)
    let json = try? JSON(parsing: text, place: path)
    switch reply.status {
    case 200:
      guard let json, case .object = json else {
        return .malformed("no object of JSON: \(shortened(text, to: 100))")
      }
      return .value(read(json))
    case 400, 404, 413, 422:
      // OpenAI's form, or FastAPI's.
      let message = json?["error"]?["message"] ?? json?["message"] ?? json?["detail"]
      return .rejected("status \(reply.status): \(message?.plainText ?? shortened(text, to: 100))")
    case let status: return .crashed("status \(status): \(shortened(text, to: 200))")
    }
  }
}
