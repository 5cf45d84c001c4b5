import AsyncHTTPClient
import Foundation
import NIOCore
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference
@testable import PixtralServer

@Suite("The server")
struct ServerTests {
  static let hello = #""messages": [{"role": "user", "content": "Hello"}]"#

  // MARK: - Answers

  /// What the model says without a server.
  private func answer(_ request: String, _ edit: (inout AnswerOptions) -> Void) throws -> Answer {
    let (model, tokenizer) = (Pixtral<Float>(try Checkpoint("seeded:tiny")), try fixtureTokenizer())
    var options = AnswerOptions()
    edit(&options)
    let prompt = try model.prompt(of: ChatRequest(json: request, form: .openAI), tokenizer: tokenizer)
    return try model.answer(prompt, tokenizer: tokenizer, options: options)
  }

  @Test("Tokens, log-probabilities and text are those of the model")
  func answer() async throws {
    let server = try await RunningServer()
    let reply = try await server.post(
      "/v1/chat/completions",
      "{\(Self.hello), \"max_tokens\": 12, \"logprobs\": true, \"return_token_ids\": true}")
    let answer = try answer("{\(Self.hello)}") { $0.maxTokens = 12 }
    let choice = try #require(reply.json["choices"]?.array?.first)
    #expect(choice["token_ids"]?.integers == answer.tokens.map(\.id))
    #expect(
      choice["logprobs"]?["content"]?.array?.compactMap { $0["logprob"]?.decimal }
        == answer.tokens.map(\.logProbability))
    #expect(choice["message"]?["content"]?.string == answer.text)
    #expect(reply.json["usage"]?["total_tokens"]?.integer == answer.promptTokens + 12)
    #expect(reply.json["prompt_token_ids"]?.integers?.count == answer.promptTokens)
  }

  @Test("A sample is that of its seed")
  func sample() async throws {
    let server = try await RunningServer()
    let reply = try await server.post(
      "/v1/chat/completions",
      "{\(Self.hello), \"max_tokens\": 12, \"temperature\": 0.9, \"top_p\": 0.8, \"seed\": 5}")
    let answer = try answer("{\(Self.hello)}") {
      $0.maxTokens = 12
      $0.sampling = Sampling(temperature: 0.9, topP: 0.8, seed: 5)
    }
    #expect(reply.json["choices"]?.array?.first?["message"]?["content"]?.string == answer.text)
  }

  @Test("The parts of a stream come to the answer in one piece")
  func stream() async throws {
    let server = try await RunningServer()
    let keys = "\(Self.hello), \"max_tokens\": 100, \"logprobs\": true, \"return_token_ids\": true"
    let whole = try await server.post("/v1/chat/completions", "{\(keys)}")
    let events = try await server.events(
      "{\(keys), \"stream\": true, \"stream_options\": {\"include_usage\": true}}")
    let choices = events.compactMap { $0["choices"]?.array?.first }
    let choice = try #require(whole.json["choices"]?.array?.first)
    #expect(
      choices.compactMap { $0["delta"]?["content"]?.string }.joined() == choice["message"]?["content"]?.string
    )
    #expect(choices.flatMap { $0["token_ids"]?.integers ?? [] } == choice["token_ids"]?.integers)
    #expect(
      choices.flatMap { $0["logprobs"]?["content"]?.array ?? [] } == choice["logprobs"]?["content"]?.array)
    #expect(choices.last?["finish_reason"] == choice["finish_reason"])
    #expect(events.last?["usage"] == whole.json["usage"])
    #expect(events.first?["choices"]?.array?.first?["delta"]?["role"]?.string == "assistant")
  }

  @Test("An image in a data: URL is seen")
  func image() async throws {
    let server = try await RunningServer()
    let bytes = try Data(contentsOf: URL(fileURLWithPath: "\(fixtures)/images/rocket.jpg"))
    let content = """
      [{"type": "text", "text": "What is this?"},
       {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,\(bytes.base64EncodedString())"}}]
      """
    let body = "{\"messages\": [{\"role\": \"user\", \"content\": \(content)}]"
    let tokens = try await server.post("/tokenize", body + "}").json["tokens"]?.integers
    #expect(tokens?.contains(10) == true)
    let reply = try await server.post(
      "/v1/chat/completions", body + ", \"max_tokens\": 2, \"return_token_ids\": true}")
    #expect(reply.json["prompt_token_ids"]?.integers == tokens)
    #expect(reply.json["choices"]?.array?.first?["token_ids"]?.integers?.count == 2)
  }

  @Test("Tokens and text go there and back")
  func tokenize() async throws {
    let server = try await RunningServer()
    let there = try await server.post(
      "/tokenize", #"{"prompt": "Grüße aus Paris", "return_token_strs": true}"#)
    let tokens = try #require(there.json["tokens"]?.integers)
    #expect(tokens.first == 1 && there.json["count"]?.integer == tokens.count)
    #expect(there.json["token_strs"]?.strings?.first == "<s>")
    let back = try await server.post("/detokenize", "{\"tokens\": \(tokens)}")
    #expect(back.json["prompt"]?.string == "Grüße aus Paris")
  }

  @Test("The models are those that have names")
  func models() async throws {
    let server = try await RunningServer { $0.names = ["a/b", "c"] }
    let list = try await server.get("/v1/models").json["data"]?.array?.compactMap { $0["id"]?.string }
    #expect(list == ["a/b", "c"])
    #expect(try await server.get("/v1/models/a/b").json["id"]?.string == "a/b")
    #expect(try await server.get("/v1/models/d").status == 404)
  }

  @Test("Health is 200 and empty")
  func health() async throws {
    let reply = try await RunningServer { $0.apiKey = "secret" }.get("/health")
    #expect(reply.status == 200 && reply.text.isEmpty)
  }

  // MARK: - Refusals

  @Test("Another model's name is 404")
  func otherModel() async throws {
    let reply = try await RunningServer().post("/v1/chat/completions", "{\"model\": \"gpt\", \(Self.hello)}")
    #expect(
      reply.status == 404 && reply.error["code"] == "model_not_found" && reply.error["param"] == "model")
  }

  @Test("Another method is 405, and the right ones are told")
  func method() async throws {
    let server = try await RunningServer()
    let reply = try await server.send("DELETE", "/v1/models")
    #expect(reply.status == 405 && reply.headers["allow"] == "GET, HEAD")
    #expect(try await server.get("/tokenize").headers["allow"] == "POST")
  }

  @Test("HEAD has the headers of GET, and no body")
  func head() async throws {
    let server = try await RunningServer()
    let (get, head) = (try await server.get("/v1/models"), try await server.send("HEAD", "/v1/models"))
    #expect(head.status == 200 && head.text.isEmpty)
    #expect(head.headers["content-length"] == get.headers["content-length"])
  }

  @Test("Another path is 404")
  func path() async throws {
    let reply = try await RunningServer().post("/v1/completions", "{}")
    #expect(reply.status == 404 && reply.error["type"] == "not_found_error")
  }

  @Test("Without the key it is 401", arguments: ["", "Bearer wrong", "Basic secret", "secret"])
  func key(header: String) async throws {
    let server = try await RunningServer { $0.apiKey = "secret" }
    let reply = try await server.get(
      "/v1/models", headers: header.isEmpty ? [] : [("Authorization", header)])
    #expect(reply.status == 401 && reply.headers["www-authenticate"] == "Bearer")
    #expect(try await server.get("/v1/models", headers: [("Authorization", "Bearer secret")]).status == 200)
  }

  @Test("A body of more bytes is 413, with its length told or not", arguments: [false, true])
  func largeBody(isChunked: Bool) async throws {
    let server = try await RunningServer { $0.maxBody = 1000 }
    let body = "{\(Self.hello), \"user\": \"\(String(repeating: "a", count: 1000))\"}"
    let reply = try await server.send(
      "POST", "/v1/chat/completions", [("Content-Type", "application/json")], body, isChunked: isChunked)
    #expect(reply.status == 413 && reply.headers["connection"] == "close")
    #expect(try await server.post("/v1/chat/completions", "{\(Self.hello), \"max_tokens\": 1}").status == 200)
  }

  @Test("A body of another type is 415", arguments: ["text/plain", "application/x-www-form-urlencoded"])
  func mediaType(type: String) async throws {
    let reply = try await RunningServer().post(
      "/v1/chat/completions", "{\(Self.hello)}", headers: [("Content-Type", type)])
    #expect(reply.status == 415)
  }

  @Test("application/json may have parameters, and capital letters")
  func mediaTypeParameters() async throws {
    let reply = try await RunningServer().post(
      "/tokenize", "{\(Self.hello)}", headers: [("Content-Type", "Application/JSON; charset=utf-8")])
    #expect(reply.status == 200)
  }

  @Test("A name that is no text is pydantic's to refuse", arguments: ["/v1/chat/completions", "/tokenize"])
  func wrongModel(path: String) async throws {
    let reply = try await RunningServer().post(path, "{\"model\": 5, \(Self.hello)}")
    #expect(reply.status == 400 && reply.error["type"] == "ValidationError")
  }

  @Test(
    "Tokens that are none are refused by their key",
    arguments: ["5", "[\"a\"]", "[32768]", "[-1]", "[1.5]", "null"])
  func wrongTokens(tokens: String) async throws {
    let reply = try await RunningServer().post("/detokenize", "{\"tokens\": \(tokens)}")
    #expect(reply.status == 400 && reply.error["param"] == "tokens")
  }

  @Test("A text and a chat are not tokenized both")
  func both() async throws {
    let reply = try await RunningServer().post("/tokenize", "{\"prompt\": \"a\", \(Self.hello)}")
    #expect(reply.status == 400 && reply.error["param"] == "prompt")
  }

  @Test("Texts that cannot fit in the context are not tokenized, images aside")
  func longText() async throws {
    let server = try await RunningServer { $0.context = 100 }
    let long = String(repeating: "a", count: 20_000)
    #expect(try await server.post("/tokenize", "{\"prompt\": \"\(long)\"}").status == 400)
    let image = #"{"type": "image_url", "image_url": {"url": "data:image/png;base64,\#(long)"}}"#
    let reply = try await server.post(
      "/tokenize", "{\"messages\": [{\"role\": \"user\", \"content\": [\(image)]}]}")
    #expect(reply.status == 400 && reply.error["type"] == "ValueError")
  }

  @Test("Who announces more than there is room for is refused, and who comes first is served")
  func held() throws {
    let memory = Memory(limit: 100)
    let first = Memory.Share(of: memory)
    try first.add(80)
    do {
      let second = Memory.Share(of: memory)
      #expect(throws: Refusal.self) { try second.add(30) }
      try second.add(20)
    }
    try first.add(20)
    let error = #expect(throws: Refusal.self) { try first.add(1) }
    #expect(error?.status == .contentTooLarge)
  }

  @Test("What is no JSON has Python's exception")
  func noJSON() async throws {
    let reply = try await RunningServer().post("/v1/chat/completions", "{")
    #expect(reply.status == 400 && reply.error["type"] == "JSONDecodeError")
  }

  @Test("Values without number are refused, not kept")
  func manyValues() async throws {
    let body = "{\"messages\": [\(String(repeating: "{},", count: 1_000_001)){}]}"
    let reply = try await RunningServer().post("/v1/chat/completions", body)
    #expect(reply.status == 400 && reply.error["message"]?.string?.contains("1000000 values") == true)
  }

  @Test("What mistral-common refuses has its exception")
  func exception() async throws {
    let body = #"{"messages": [{"role": "assistant", "content": "a"}]}"#
    for path in ["/v1/chat/completions", "/tokenize"] {
      let reply = try await RunningServer().post(path, body)
      #expect(reply.status == 400 && reply.error["type"] == "InvalidMessageStructureException")
    }
  }

  @Test("An answer that does not fit behind its prompt is refused")
  func context() async throws {
    let server = try await RunningServer { $0.context = 20 }
    #expect(
      try await server.post("/v1/chat/completions", "{\(Self.hello), \"max_tokens\": 16}").status == 200)
    let reply = try await server.post("/v1/chat/completions", "{\(Self.hello), \"max_tokens\": 17}")
    #expect(reply.status == 400 && reply.error["param"] == "max_tokens")
    let other = try await server.post(
      "/v1/chat/completions", "{\(Self.hello), \"max_completion_tokens\": 17}")
    #expect(other.status == 400 && other.error["param"] == "max_completion_tokens")
  }

  @Test("A body that does not come in time is refused")
  func slowBody() async throws {
    let server = try await RunningServer { $0.patience.body = .milliseconds(200) }
    var request = HTTPClientRequest(url: "http://127.0.0.1:\(server.port)/tokenize")
    request.method = .POST
    request.headers.add(name: "Content-Type", value: "application/json")
    let (parts, never) = AsyncStream<ByteBuffer>.makeStream()
    request.body = .stream(parts, length: .known(9))
    let response = try await HTTPClient.shared.execute(request, timeout: .hours(1))
    #expect(response.status == .requestTimeout)
    never.finish()
    withExtendedLifetime(server) {}
  }

  @Test("A connection that says nothing is closed")
  func silence() async throws {
    let server = try await RunningServer {
      ($0.patience.body, $0.patience.silence) = (.milliseconds(100), .milliseconds(200))
    }
    let received = try await elsewhere { [port = server.port] in try RawClient(port: port).receive() }
    withExtendedLifetime(server) {}
    #expect(received.isEmpty)
  }

  @Test("An answer whose length is not asked for is as long as there is room")
  func room() async throws {
    let server = try await RunningServer { $0.context = 20 }
    let reply = try await server.post("/v1/chat/completions", "{\(Self.hello)}")
    #expect(reply.json["usage"]?["total_tokens"]?.integer == 20)
  }

  @Test(
    "A client that closes the connection ends its answer, though it has sent its next request",
    arguments: [false, true], ["", "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"])
  func leaving(streams: Bool, next: String) async throws {
    let server = try await RunningServer("seeded:small") { $0.queue = 0 }
    // An answer of this seed takes more than ten minutes.
    let body = """
      {\(Self.hello), "max_tokens": 100000, "temperature": 1, "seed": \(Self.longSeed), "stream": \(streams)}
      """
    do {
      let client = try RawClient(port: server.port)
      try client.send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n")
      try client.send("Content-Length: \(body.utf8.count)\r\n\r\n\(body)\(next)")
      while try await server.post("/v1/chat/completions", "{\(Self.hello), \"max_tokens\": 1}").status != 429
      {}
    }
    let end = ContinuousClock.now + .seconds(300)
    var status = 429
    while status == 429, ContinuousClock.now < end {
      status = try await server.post("/v1/chat/completions", "{\(Self.hello), \"max_tokens\": 1}").status
    }
    #expect(status == 200)
  }

  /// Of an answer of many tokens.
  static let longSeed = 4

  @Test("A port that is taken is an input error")
  func port() async throws {
    let server = try await RunningServer()
    await #expect(throws: InputError.self) { _ = try await RunningServer { $0.port = server.port } }
  }
}
