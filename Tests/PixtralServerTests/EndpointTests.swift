import Dispatch
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralConformance
@testable import PixtralServer

/// Servers as runtimes, judged by the cases of tokens.
@Suite("Endpoints")
struct EndpointTests {
  private let cases: [ConformanceCase]
  private let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    // The rules, without the random requests.
    cases = try CaseFiles("\(fixtures)/cases").cases.filter {
      $0.stage == .tokens && !$0.isMinor && !$0.id.contains("/random-")
    }
  }

  private func verdicts(_ port: Int) async throws -> [CaseVerdict] {
    try await elsewhere { [cases, folder] in
      let tokenizer = try fixtureTokenizer()
      let endpoint = try Endpoint(
        judgeClient(port), place: "test",
        tokenizer: tokenizer)
      let run = ConformanceRun(
        cases, tokenizer: tokenizer, faults: FaultAnswers(),
        checkpoints: CheckpointFolders(
          in: folder.path, tokenizerFile: "\(fixtures)/tokenizer/\(Tokenizer.fileName)"))
      return try run(endpoint) { _ in endpoint }
    }
  }

  /// A server that changes the tokens that ours tells, before it tells them.
  private func altered(_ change: @escaping @Sendable ([Int]) -> [Int]) async throws -> (
    OtherServer, RunningServer
  ) {
    let server = try await RunningServer()
    return (
      try await OtherServer { path, body in
        if body.isEmpty { return (200, try await server.get(path).text) }
        let reply = try await server.post(path, body)
        guard path == "/tokenize", let tokens = reply.json["tokens"]?.integers else {
          return (reply.status, reply.text)
        }
        return (200, #"{"tokens": \#(change(tokens))}"#)
      }, server
    )
  }

  @Test("Our own server passes, and most of the rules are asked")
  func right() async throws {
    let server = try await RunningServer()
    let verdicts = try await verdicts(server.port)
    #expect(verdicts.filter(\.verdict.isFailure).map(\.id) == [])
    #expect(verdicts.count { $0.verdict == .passed } > verdicts.count * 3 / 4)
  }

  @Test("A server that puts another <s> in front fails")
  func doubleBeginning() async throws {
    let (other, server) = try await altered { [1] + $0 }
    let verdicts = try await verdicts(other.port)
    #expect(verdicts.count { $0.verdict == .failed } > verdicts.count / 3)
    withExtendedLifetime(server) {}
  }

  @Test("A server that says 12 and 13 for the breaks and ends of images fails where there are images")
  func otherBreaks() async throws {
    let (other, server) = try await altered { $0.map { $0 == 14 ? 12 : $0 == 15 ? 13 : $0 } }
    let failed = try await verdicts(other.port).filter { $0.verdict == .failed }
    #expect(failed.contains { $0.detail?.contains("expected 14 ([IMG_BREAK]), found 12") == true })
    #expect(
      failed.allSatisfy { $0.detail?.contains("found 12") == true || $0.detail?.contains("found 13") == true }
    )
    withExtendedLifetime(server) {}
  }

  @Test("A server that tells tokens with a completion only is asked for those")
  func completionOnly() async throws {
    let server = try await RunningServer()
    let other = try await OtherServer { path, body in
      if path.hasSuffix("tokenize") { return (404, "{}") }
      let reply = body.isEmpty ? try await server.get(path) : try await server.post(path, body)
      return (reply.status, reply.text)
    }
    let verdicts = try await verdicts(other.port)
    #expect(verdicts.filter(\.verdict.isFailure).map(\.id) == [])
    #expect(verdicts.count { $0.verdict == .passed } > 100)
    withExtendedLifetime(server) {}
  }

  @Test("A server that is not there is an input error")
  func nobody() throws {
    let address = "http://127.0.0.1:1"
    let error = try refusal {
      try Endpoint(
        PixtralConformance.HTTPClient(address, key: nil, timeout: 5), place: address,
        tokenizer: fixtureTokenizer())
    }
    #expect(error.place == "--endpoint http://127.0.0.1:1")
  }

  @Test("A server that tells no tokens cannot be judged")
  func noTokens() async throws {
    let other = try await OtherServer { path, _ in
      (200, path == "/v1/models" ? #"{"data": [{"id": "a"}]}"# : "{}")
    }
    let error = try await elsewhere {
      try refusal {
        let address = try Endpoint.address("http://127.0.0.1:\(other.port)/v1/")
        return try Endpoint(
          PixtralConformance.HTTPClient(address, key: nil, timeout: 3600), place: address,
          tokenizer: fixtureTokenizer())
      }
    }
    #expect(error.expected.contains("/tokenize"))
  }
}

/// Waits on a thread of its own: the server that is waited for needs those of tasks.
func elsewhere<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
  try await withCheckedThrowingContinuation { done in
    DispatchQueue.global().async { done.resume(with: Result(catching: body)) }
  }
}
