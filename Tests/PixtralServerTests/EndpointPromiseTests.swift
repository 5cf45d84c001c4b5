import PixtralReference
import PixtralStorage
import PixtralText
import Synchronization
import TestSupport
import Testing

@testable import PixtralConformance
@testable import PixtralServer

/// What a server has told once, and does not tell again.
extension EndpointVerdictTests {
  /// The answers to the prompt with the long image, changed; the others, and those to the first questions, are not.
  private static func ofScaled(_ change: @escaping @Sendable (JSON) -> JSON) -> @Sendable (JSON) -> JSON {
    { $0["usage"]?["prompt_tokens"] == .integer(269) ? change($0) : $0 }
  }

  @Test("Status 200 without choices is malformed")
  func noChoices() async throws {
    let report = try await Self.report(Self.ofScaled { _ in ["error": "out of memory"] })
    #expect(try Self.verdict("endpoint/logprobs/scaled", report).verdict == .malformed)
  }

  @Test("Log-probabilities that are told once and then not are malformed")
  func missingLogprobs() async throws {
    let report = try await Self.report(Self.ofScaled { Self.replacing("logprobs", $0) { _ in .null } })
    #expect(
      try Self.verdict("endpoint/logprobs/scaled", report).detail
        == "no log-probabilities, which it has told before")
  }

  /// The first place alone.
  private static let first = ofScaled {
    replacing("content", $0) { if case .array(let list) = $0 { .array([list[0]]) } else { $0 } }
  }

  @Test("Fewer places than were asked are malformed")
  func fewerPlaces() async throws {
    let report = try await Self.report(Self.first)
    #expect(
      try Self.verdict("endpoint/logprobs/scaled", report).detail
        == "log-probabilities of 1 places, and not of 6")
  }

  @Test("An answer that ends where the right one goes on fails")
  func endsEarly() async throws {
    let report = try await Self.report { Self.replacing("finish_reason", Self.first($0)) { _ in "stop" } }
    #expect(
      try Self.verdict("endpoint/logprobs/scaled", report).detail == "the answer ends behind 1 of 6 tokens")
  }

  @Test("Log-probabilities that are lacking say nothing of the tokens")
  func tokensApart() async throws {
    let report = try await Self.report(Self.ofScaled { Self.replacing("logprobs", $0) { _ in .null } })
    #expect(try Self.verdict("endpoint/tokens/scaled", report).verdict == .passed)
  }

  @Test("The whole has not passed where a prompt has no log-probabilities")
  func unanswered() async throws {
    let report = try await Self.report(Self.ofScaled { Self.replacing("logprobs", $0) { _ in .null } })
    let found = try #require(report.findings?.json["log_probabilities"])
    #expect(found["verdict"] == "undecided")
    #expect(found["unanswered_prompts"] == .integer(1))
  }

  @Test(
    "Log-probabilities beyond every measure fail, and break nothing",
    arguments: [1e150, -1e150, 1e308, -9999])
  func beyondMeasure(value: Double) async throws {
    let report = try await Self.report { Self.logprobs($0) { $0 < -4.5 ? value : 0 } }
    #expect(try Self.verdict("endpoint/logprobs/text", report).verdict == .failed)
    let moves = report.verdicts.filter {
      $0.id.hasPrefix("endpoint/influence/") && $0.distance?.isNaN == true
    }
    #expect(moves.isEmpty)
  }

  @Test("A place with fewer likely tokens than before is malformed")
  func fewerTokens() async throws {
    let report = try await Self.report(
      Self.ofScaled {
        Self.replacing("top_logprobs", $0) { if case .array(let list) = $0 { .array([list[0]]) } else { $0 } }
      })
    #expect(
      try Self.verdict("endpoint/logprobs/scaled", report).detail
        == "the 1 likeliest tokens of place 0, and not 20")
  }

  @Test("A server whose list has a token less, for two are spelled alike, is not malformed")
  func oneFewer() async throws {
    let report = try await Self.report(
      Self.ofScaled {
        Self.replacing("top_logprobs", $0) { list in
          if case .array(let list) = list { .array(Array(list.dropLast())) } else { list }
        }
      })
    #expect(try Self.verdict("endpoint/logprobs/scaled", report).verdict == .passed)
  }

  @Test("Likely tokens that are missing in the list fail, whatever stands in their place")
  func unlikely() async throws {
    let report = try await Self.report(
      Self.ofScaled {
        Self.replacing("top_logprobs", $0) { list in
          guard case .array(let list) = list else { return list }
          return .array(list.indices.map { ["token": .string("unknown \($0)"), "logprob": .number(-60)] })
        }
      })
    #expect(try Self.verdict("endpoint/logprobs/scaled", report).verdict == .failed)
  }

  @Test("A server that breaks if log-probabilities are asked has not merely none")
  func broken() async throws {
    let report = try await Self.liveReport { Self.replacing("logprob", $0) { .string($0.plainText) } }
    #expect(try Self.verdict("endpoint/logprobs/text", report).verdict == .crashed)
    #expect(
      report.findings?.lines.contains { $0.hasPrefix("asked for log-probabilities, the server fails") }
        == true)
  }

  @Test("The chosen token has the log-probability that it has in the list")
  func chosen() async throws {
    let report = try await Self.report { json in
      Self.replacing("content", json) { content in
        guard case .array(let places) = content else { return content }
        return .array(
          places.map { place in
            guard case .object(let members) = place else { return place }
            return .object(
              members.map { $0.key == "logprob" ? .init(key: "logprob", value: .number(0)) : $0 })
          })
      }
    }
    #expect(try Self.verdict("endpoint/keeps/greedy", report).verdict == .failed)
    #expect(try Self.verdict("endpoint/logprobs/text", report).verdict == .passed)
  }

  @Test("A count of tokens at the end of the integers is a wrong count")
  func largestCount() async throws {
    let report = try await Self.report { Self.replacing("prompt_tokens", $0) { _ in .integer(.max) } }
    #expect(try Self.verdict("endpoint/tokens/text", report).verdict == .failed)
  }

  @Test("An integer beyond 64 bits in what is not judged harms nothing")
  func largeInteger() async throws {
    let server = try await OtherServer { path, _ in
      (200, path == "/v1/models" ? #"{"data": [{"id": "a"}]}"# : Self.short)
    }
    let endpoint = try await elsewhere { [port = server.port] in
      let client = judgeClient(port)
      return try Endpoint(client, place: "test", tokenizer: fixtureTokenizer()).server.capabilities.counts
    }
    withExtendedLifetime(server) {}
    #expect(endpoint)
  }

  private static let short = """
    {"seed": 18446744073709551615, "choices": [{"index": 0, "finish_reason": "length"}], "usage": {"prompt_tokens": 4}}
    """
}

@Suite("The spellings of tokens")
struct SpellingsTests {
  let spellings: Spellings
  let byte: Int
  let the: Int

  init() throws {
    let tokenizer = try fixtureTokenizer()
    spellings = Spellings(tokenizer)
    byte = tokenizer.vocabulary.firstByte + 0x97
    the = try #require(tokenizer.vocabulary.pieces.firstIndex { $0.text == "▁the" })
  }

  @Test(
    "The bytes of a token say which it is, however it is spelled",
    arguments: [("", [0x97]), ("\u{FFFD}", [0x97]), (#"bytes:\x97"#, nil)] as [(String, [Int]?)])
  func bytes(spelling: String, bytes: [Int]?) {
    #expect(spellings.candidates(spelling, bytes: bytes, id: nil) == [byte])
  }

  @Test("What is spelled as nothing may be any byte, and any control token", arguments: ["", "\u{FFFD}"])
  func vague(spelling: String) {
    let candidates = spellings.candidates(spelling, bytes: nil, id: nil)
    #expect(candidates.contains(byte))
    #expect(candidates.contains(2))
  }

  @Test("An id beside the spelling is the token")
  func id() { #expect(spellings.candidates("x", bytes: nil, id: 7) == [7]) }

  @Test(
    "A word with its space, without, or with its mark may be one token", arguments: [" the", "the", "▁the"])
  func spaces(spelling: String) {
    #expect(spellings.candidates(spelling, bytes: nil, id: nil).contains(the))
  }
}

@Suite("Asking over HTTP, and what is kept of it")
struct EndpointTransportTests {
  @Test("A server that is busy is asked again")
  func busy() async throws {
    let times = Mutex(0)
    let server = try await OtherServer { _, _ in
      times.withLock {
        $0 += 1
        return $0 == 1 ? (503, "{}") : (200, "[]")
      }
    }
    let status = try await elsewhere { [port = server.port] in
      try judgeClient(port).get("/").status
    }
    withExtendedLifetime(server) {}
    #expect(status == 200)
  }

  @Test("Nobody waits for an hour")
  func patience() async throws {
    let server = try await OtherServer(retryAfter: "3600") { _, _ in (429, "{}") }
    let status = try await elsewhere { [port = server.port] in
      try judgeClient(port).get("/").status
    }
    withExtendedLifetime(server) {}
    #expect(status == 429)
  }

  @Test(
    "A key that a server says back is not kept, unless it is too short to be a secret",
    arguments: [("sk-1234567890ab", "KEY"), ("token", "token")])
  func key(key: String, kept: String) async throws {
    let server = try await OtherServer { _, _ in (401, "no such key: \(key)") }
    let body = try await elsewhere { [port = server.port] in
      try judgeClient(port, key: key).get("/").body
    }
    withExtendedLifetime(server) {}
    #expect(String(decoding: body, as: UTF8.self) == "no such key: \(kept)")
  }

  @Test("A recording says what was declared of its server")
  func declared() throws {
    let folder = try TemporaryFolder()
    var declared = Declared()
    (declared.model, declared.arithmetic, declared.images) = ("m", .bfloat16, .huggingface)
    let file = try NewFile("\(folder.path)/bodies", sparing: [])
    let recorder = try Recorder(
      PixtralConformance.HTTPClient("http://127.0.0.1:1", key: nil, timeout: 1), declared, to: file)
    try recorder.finish()
    #expect(try Replay("\(folder.path)/bodies").declared == declared)
  }

  @Test("What a recording has not is an error of ours, and none of the server")
  func unrecorded() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("bodies", Declared().json.text() + "\n")
    let replay = try Replay(path)
    #expect(throws: NoReply.self) { try replay.get("/v1/models") }
    #expect(replay.failure?.place == path)
  }

  @Test(
    "What is neither an address nor a file is refused",
    arguments: ["said.jsonl", "/no/such.jsonl", "-", "http://a:1?b", "http://a:1#b", "host"])
  func addresses(text: String) throws {
    let error = try refusal { try Endpoint.address(text) }
    #expect(error.kind == .wrongArgument)
  }

  @Test("An address loses what is no part of it", arguments: ["http://a:1/v1/", "http://a:1/", "http://a:1"])
  func address(text: String) throws { #expect(try Endpoint.address(text) == "http://a:1") }

  @Test("A user's password is not shown", arguments: ["http://u:p@a:1/b@c", "http://u:p@ss@a:1/b@c"])
  func password(address: String) { #expect(Endpoint.shown(address) == "http://a:1/b@c") }
}
