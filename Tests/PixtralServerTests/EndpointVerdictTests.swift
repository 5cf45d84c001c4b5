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
  // MARK: - Right servers

  @Test("Our own server passes every case")
  func right() async throws {
    let report = try await Self.report()
    let others = report.verdicts.filter { $0.verdict != .passed }
    #expect(others.allSatisfy { $0.verdict == .unsupported && $0.id.contains("/huggingface-") })
    #expect(Self.suspects(report) == [])
  }

  @Test("The mean divergence of a right server lies within the noise, and its power is stated")
  func pooled() async throws {
    let found = try #require(try await Self.report().findings?.json["log_probabilities"])
    #expect(found["verdict"] == .string("passed"))
    let (mean, near) = (try #require(found["mean_kl"]?.decimal), try #require(found["near"]?.decimal))
    #expect(mean <= near)
    let power = try #require(found["power"]?["deviation"]?.decimal)
    #expect((1e-7..<1e-4).contains(power))
  }

  @Test("A server that tells numbers of tokens and no tokens passes by those")
  func counts() async throws {
    let report = try await Self.liveReport { Self.without(["prompt_token_ids", "tokens"], $0) }
    #expect(report.passed)
    #expect(try Self.verdict("endpoint/tokens/image", report).detail == "by their number alone")
  }

  @Test("A server of other weights is judged by what needs no golden")
  func otherWeights() async throws {
    let report = try await Self.report(knowsWeights: false)
    #expect(report.passed)
    #expect(try Self.verdict("endpoint/logprobs/image", report).verdict == .unsupported)
    #expect(try Self.verdict("endpoint/influence/other-image", report).verdict == .passed)
  }

  // MARK: - Wrong ones

  @Test("A server that is to follow transformers' rule of images, and does not, fails where the rules differ")
  func otherRule() async throws {
    let report = try await Self.report(images: .huggingface)
    #expect(
      report.failures.map(\.id) == [
        "endpoint/tokens/huggingface-scaled", "endpoint/logprobs/huggingface-odd-size",
        "endpoint/logprobs/huggingface-scaled",
      ])
    #expect(Self.suspects(report).first == "images by mistral-common's rule")
    #expect(try Self.verdict("endpoint/tokens/scaled", report).verdict == .unsupported)
  }

  @Test("A server that has one prompt for every request is called so, though its weights are unknown")
  func onePrompt() async throws {
    let report = try await Self.liveReport(knowsWeights: false) { json in
      let counts = Self.without(["prompt_token_ids", "tokens"], json)
      return Self.replacing("prompt_tokens", counts) { _ in .integer(7) }
    }
    #expect(Self.suspects(report).first == "the same 7 tokens whatever is asked")
  }

  @Test("One prompt that is surely wrong makes the whole of the log-probabilities wrong")
  func onePromptFails() async throws {
    let report = try await Self.report { json in
      json["usage"]?["prompt_tokens"] == .integer(269) ? Self.logprobs(json) { 0.99 * $0 } : json
    }
    let found = try #require(report.findings?.json["log_probabilities"])
    #expect(found["verdict"] == .string("failed"))
    #expect(found["failed_prompts"] == .integer(1))
    // What could be seen is said of the others.
    #expect(try #require(found["power"]?["deviation"]?.decimal) < 1e-4)
  }

  @Test(
    "What becomes of log-probabilities on their way is found, and called by its name",
    arguments: [
      ("logarithms to the base of 10", { @Sendable (x: Double) in x / log(10) }),
      ("log-probabilities scaled by 0.900", { 0.9 * $0 }),
      ("log-probabilities rounded to bfloat16", { Double(rounded(Float($0))) }),
      ("probabilities in the place of log-probabilities", { exp($0) }),
    ] as [(String, @Sendable (Double) -> Double)])
  func telling(name: String, change: @escaping @Sendable (Double) -> Double) async throws {
    let report = try await Self.report { Self.logprobs($0, change) }
    #expect(!report.passed)
    #expect(Self.suspects(report).prefix(2).contains(name))
  }

  @Test("One log-probability that is above 0 fails")
  func above() async throws {
    let report = try await Self.report { Self.logprobs($0) { $0 < -4.5 ? $0 : 0.01 } }
    #expect(try Self.verdict("endpoint/keeps/at-most-zero", report).verdict == .failed)
  }

  @Test("Probabilities that come to more than 1 fail")
  func sums() async throws {
    let report = try await Self.report { Self.logprobs($0) { $0 / 4 } }
    #expect(try Self.verdict("endpoint/keeps/sum-at-most-one", report).verdict == .failed)
  }

  @Test("A count that is off by one fails, though the tokens are right")
  func count() async throws {
    let report = try await Self.report { json in
      Self.replacing("prompt_tokens", json) { if case .integer(let n) = $0 { .integer(n + 1) } else { $0 } }
    }
    #expect(
      try Self.verdict("endpoint/tokens/text", report).detail?.hasPrefix("usage counts 14 tokens") == true)
    // Nothing that is known explains it, and so nothing else is listed.
    #expect(Self.suspects(report) == [Suspects.none])
  }

  @Test("Noise that no mistake explains has no name")
  func unknown() async throws {
    let report = try await Self.report { Self.logprobs($0) { $0 + 0.01 * sin(1000 * $0) } }
    #expect(!report.passed)
    #expect(Self.suspects(report).first == Suspects.none)
    #expect(report.verdicts.allSatisfy { $0.looksLike.isEmpty })
  }

  @Test("A server that answers everything alike is found by what does not move")
  func alike() async throws {
    let path = try await Self.recorded.value.path
    let report = try Self.report(OneAnswer(try Replay(path)))
    for name in ["other-image", "no-image", "transposed", "permuted", "swapped"] {
      #expect(try Self.verdict("endpoint/influence/\(name)", report).verdict == .failed)
    }
    #expect(try Self.verdict("endpoint/influence/same-image", report).verdict == .passed)
  }

  @Test("Without known weights, too")
  func alikeOfOtherWeights() async throws {
    let path = try await Self.recorded.value.path
    let report = try Self.report(OneAnswer(try Replay(path)), knowsWeights: false)
    #expect(try Self.verdict("endpoint/influence/other-image", report).verdict == .failed)
  }

  @Test("The order in which likely tokens are told does not matter")
  func order() async throws {
    let report = try await Self.report { json in
      Self.replacing("top_logprobs", json) {
        if case .array(let list) = $0 { .array(list.reversed()) } else { $0 }
      }
    }
    #expect(report.passed)
  }

  @Test("A repetition that is not answered is no equal answer")
  func repetition() async throws {
    let path = try await Self.recorded.value.path
    let report = try Self.report(BrokenRepetition(try Replay(path)))
    #expect(try Self.verdict("endpoint/keeps/repeated", report).verdict == .malformed)
  }

  @Test("A case alone is judged by its own prompt")
  func alone() async throws {
    let path = try await Self.recorded.value.path
    let report = try Self.report(
      Altered(try Replay(path)) { Self.logprobs($0) { 0.9 * $0 } }, only: ["endpoint/tokens/text"])
    #expect(report.passed)
    #expect(report.findings?.json["log_probabilities"] == .null)
  }

  @Test("A server that answers a bad request is failed")
  func errors() async throws {
    let lenient = try await Self.report { json in
      json["error"] == nil
        ? json : ["choices": [["index": 0]], "prompt_token_ids": [1], "usage": ["prompt_tokens": 1]]
    }
    #expect(try Self.verdict("endpoint/errors/no-messages", lenient).verdict == .failed)
  }

  /// One whose second answer to a request is none.
  private final class BrokenRepetition: Transport {
    private let server: any Transport
    var failure: InputError? { server.failure }
    private var asked: Set<[UInt8]> = []

    init(_ server: any Transport) { self.server = server }

    func get(_ path: String) throws(NoReply) -> PixtralConformance.Reply { try server.get(path) }

    func post(_ path: String, _ body: [UInt8]) throws(NoReply) -> PixtralConformance.Reply {
      let reply = try server.post(path, body)
      guard asked.insert(body).inserted || !String(decoding: body, as: UTF8.self).contains("image_url") else {
        return Reply(status: 200, body: Array("oops".utf8))
      }
      return reply
    }
  }

  /// One that has the first answer with log-probabilities for every prompt.
  private final class OneAnswer: Transport {
    private let server: any Transport
    var failure: InputError? { server.failure }
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
}

/// To bfloat16.
private func rounded(_ value: Float) -> Float {
  let bits = value.bitPattern
  return Float(bitPattern: (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000)
}
