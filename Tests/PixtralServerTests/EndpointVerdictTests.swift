import Glibc
import PixtralReference
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralConformance
@testable import PixtralServer

/// What our own server of seeded:small says, whole and altered, by the cases of stage `endpoint`.
@Suite("Verdicts on endpoints")
struct EndpointVerdictTests {
  /// What a server said once, which is asked many times.
  private final class Recorded: Sendable {
    let folder: TemporaryFolder
    let path: String

    init() async throws {
      folder = try TemporaryFolder()
      path = "\(folder.path)/bodies.jsonl"
      let server = try await RunningServer("seeded:small")
      let (port, path) = (server.port, path)
      _ = try await elsewhere {
        let client = PixtralConformance.HTTPClient("http://127.0.0.1:\(port)", key: nil, timeout: 60)
        let recorder = Recorder(client, to: try NewFile(path, sparing: []))
        let report = try EndpointVerdictTests.report(recorder)
        try recorder.finish()
        return report.passed
      }
      withExtendedLifetime(server) {}
    }
  }

  private static let recorded = Task { try await Recorded() }

  /// A server that changes what another says, or what it is asked.
  private final class Altered: Transport {
    let server: any Transport
    let change: (JSON) -> JSON

    init(_ server: any Transport, _ change: @escaping (JSON) -> JSON) {
      (self.server, self.change) = (server, change)
    }

    func get(_ path: String) throws(NoReply) -> PixtralConformance.Reply { try server.get(path) }

    func post(_ path: String, _ body: [UInt8]) throws(NoReply) -> PixtralConformance.Reply {
      let reply = try server.post(path, body)
      guard let json = try? JSON(parsing: String(decoding: reply.body, as: UTF8.self), place: path) else {
        return reply
      }
      let changed = change(json)
      let isMended = json["error"] != nil && changed["error"] == nil
      return Reply(status: isMended ? 200 : reply.status, body: Array(changed.text().utf8))
    }
  }

  private static func report(_ transport: any Transport, knowsWeights: Bool = true) throws -> Report {
    let tokenizer = try fixtureTokenizer()
    let suite = try EndpointSuite(fixtures)
    let endpoint = try Endpoint(
      transport, place: "test", model: nil, arithmetic: .float32, tokenizer: tokenizer, suite: suite,
      hasKnownWeights: knowsWeights)
    let run = ConformanceRun(
      suite.cases, tokenizer: tokenizer, faults: FaultAnswers(),
      checkpoints: CheckpointFolders(in: "", tokenizerFile: ""))
    let verdicts = try run(endpoint) { _ in endpoint }
    return Report(
      endpoint.description, verdicts, known: [:],
      findings: try endpoint.findings(verdicts, tokenizer: tokenizer))
  }

  /// The report on what was recorded, altered.
  private func report(
    knowsWeights: Bool = true, _ change: @escaping @Sendable (JSON) -> JSON = { $0 }
  ) async throws -> Report {
    let path = try await Self.recorded.value.path
    return try Self.report(Altered(try Replay(path), change), knowsWeights: knowsWeights)
  }

  private func suspects(_ report: Report) -> [String] {
    guard case .array(let list)? = report.findings?.json["suspects"] else { return [] }
    return list.compactMap { $0["name"]?.plainText }
  }

  private func verdict(_ id: String, _ report: Report) throws -> CaseVerdict {
    try #require(report.verdicts.first { $0.id == id })
  }

  // MARK: - Right servers

  @Test("Our own server passes every case")
  func right() async throws {
    let report = try await report()
    #expect(report.verdicts.filter { $0.verdict != .passed }.map(\.id) == [])
    #expect(suspects(report) == [])
  }

  @Test("The mean divergence of a right server lies within the noise, and its power is stated")
  func pooled() async throws {
    let found = try #require(try await report().findings?.json["log_probabilities"])
    #expect(found["verdict"] == .string("passed"))
    let (mean, near) = (try #require(found["mean_kl"]?.decimal), try #require(found["near"]?.decimal))
    #expect(mean <= near)
    let power = try #require(found["power"]?["deviation"]?.decimal)
    #expect((1e-7..<1e-4).contains(power))
  }

  @Test("A server that tells numbers of tokens and no tokens passes by those")
  func counts() async throws {
    let server = try await RunningServer("seeded:small")
    let report = try await elsewhere { [port = server.port] in
      let client = PixtralConformance.HTTPClient("http://127.0.0.1:\(port)", key: nil, timeout: 60)
      return try Self.report(Altered(client) { Self.without(["prompt_token_ids", "tokens"], $0) })
    }
    #expect(report.passed)
    #expect(try verdict("endpoint/tokens/image", report).detail == "by their number alone")
    withExtendedLifetime(server) {}
  }

  @Test("A server of other weights is judged by what needs no golden")
  func otherWeights() async throws {
    let report = try await report(knowsWeights: false)
    #expect(report.passed)
    #expect(try verdict("endpoint/logprobs/image", report).verdict == .unsupported)
    #expect(try verdict("endpoint/influence/other-image", report).verdict == .passed)
  }

  // MARK: - Wrong ones

  @Test(
    "What becomes of log-probabilities on their way is found, and called by its name",
    arguments: [
      ("logarithms to the base of 10", { @Sendable (x: Double) in x / log(10) }),
      ("log-probabilities scaled by 0.900", { 0.9 * $0 }),
      ("log-probabilities rounded to bfloat16", { Double(rounded(Float($0))) }),
      ("probabilities in the place of log-probabilities", { exp($0) }),
    ] as [(String, @Sendable (Double) -> Double)])
  func telling(name: String, change: @escaping @Sendable (Double) -> Double) async throws {
    let report = try await report { Self.logprobs($0, change) }
    #expect(!report.passed)
    #expect(suspects(report).prefix(2).contains(name))
  }

  @Test("One log-probability that is above 0 fails")
  func above() async throws {
    let report = try await report { Self.logprobs($0) { $0 < -4.5 ? $0 : 0.01 } }
    #expect(try verdict("endpoint/keeps/at-most-zero", report).verdict == .failed)
  }

  @Test("Probabilities that come to more than 1 fail")
  func sums() async throws {
    let report = try await report { Self.logprobs($0) { $0 / 4 } }
    #expect(try verdict("endpoint/keeps/sum-at-most-one", report).verdict == .failed)
  }

  @Test("A count that is off by one fails, though the tokens are right")
  func count() async throws {
    let report = try await report { json in
      Self.replacing("prompt_tokens", json) { if case .integer(let n) = $0 { .integer(n + 1) } else { $0 } }
    }
    #expect(try verdict("endpoint/tokens/text", report).detail?.hasPrefix("usage counts 14 tokens") == true)
  }

  @Test("Noise that no mistake explains has no name")
  func unknown() async throws {
    let report = try await report { Self.logprobs($0) { $0 + 0.01 * sin(1000 * $0) } }
    #expect(!report.passed)
    #expect(suspects(report).first == Suspects.none)
    #expect(report.verdicts.allSatisfy { $0.looksLike.isEmpty })
  }

  @Test("A server that answers everything alike is found by what does not move")
  func alike() async throws {
    let path = try await Self.recorded.value.path
    let report = try Self.report(OneAnswer(try Replay(path)))
    for name in ["other-image", "no-image", "transposed", "permuted", "swapped"] {
      #expect(try verdict("endpoint/influence/\(name)", report).verdict == .failed)
    }
    #expect(try verdict("endpoint/influence/same-image", report).verdict == .passed)
  }

  @Test("Without known weights, too")
  func alikeOfOtherWeights() async throws {
    let path = try await Self.recorded.value.path
    let report = try Self.report(OneAnswer(try Replay(path)), knowsWeights: false)
    #expect(try verdict("endpoint/influence/other-image", report).verdict == .failed)
  }

  @Test("A server that answers a bad request is failed, and so is one that refuses the good one")
  func errors() async throws {
    let lenient = try await report { json in
      json["error"] == nil ? json : ["choices": [], "usage": ["prompt_tokens": 1]]
    }
    #expect(try verdict("endpoint/errors/no-messages", lenient).verdict == .failed)
  }

  /// One that has the first answer with log-probabilities for every prompt.
  private final class OneAnswer: Transport {
    private let server: any Transport
    private var first: PixtralConformance.Reply?

    init(_ server: any Transport) { self.server = server }

    func get(_ path: String) throws(NoReply) -> PixtralConformance.Reply { try server.get(path) }

    func post(_ path: String, _ body: [UInt8]) throws(NoReply) -> PixtralConformance.Reply {
      let reply = try server.post(path, body)
      guard reply.status == 200, String(decoding: body, as: UTF8.self).contains(#""max_tokens":6"#) else {
        return reply
      }
      first = first ?? reply
      return first!
    }
  }

  // MARK: - Changes

  private static func replacing(_ key: String, _ json: JSON, _ change: (JSON) -> JSON) -> JSON {
    switch json {
    case .object(let members):
      .object(
        members.map {
          .init(key: $0.key, value: $0.key == key ? change($0.value) : replacing(key, $0.value, change))
        })
    case .array(let values): .array(values.map { replacing(key, $0, change) })
    default: json
    }
  }

  private static func logprobs(_ json: JSON, _ change: (Double) -> Double) -> JSON {
    replacing("logprob", json) { $0.decimal.map { .number(change($0)) } ?? $0 }
  }

  private static func without(_ keys: [String], _ json: JSON) -> JSON {
    guard case .object(let members) = json else { return json }
    return .object(members.filter { !keys.contains($0.key) })
  }
}

/// To bfloat16.
private func rounded(_ value: Float) -> Float {
  let bits = value.bitPattern
  return Float(bitPattern: (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000)
}
