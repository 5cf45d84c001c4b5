import Glibc
import PixtralReference
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralConformance
@testable import PixtralServer

/// What our own server of seeded:small said once, and the verdicts on it, whole and altered.
extension EndpointVerdictTests {
  /// What a server said once, which is asked many times.
  final class Recorded: Sendable {
    let folder: TemporaryFolder
    let path: String

    init() async throws {
      folder = try TemporaryFolder()
      path = "\(folder.path)/bodies.jsonl"
      let server = try await RunningServer("seeded:small")
      let (port, path) = (server.port, path)
      _ = try await elsewhere {
        let client = judgeClient(port)
        let recorder = try Recorder(client, to: try NewFile(path, sparing: []))
        let report = try EndpointVerdictTests.report(recorder)
        try recorder.finish()
        return report.passed
      }
      withExtendedLifetime(server) {}
    }
  }

  static let recorded = Task { try await Recorded() }

  /// A server that changes what another says, or what it is asked.
  final class Altered: Transport {
    let server: any Transport
    let change: (JSON) -> JSON
    var failure: InputError? { server.failure }

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

  static func report(
    _ transport: any Transport, knowsWeights: Bool = true, images: ImagesRule = .mistral,
    only ids: Set<String>? = nil
  ) throws -> Report {
    var declared = Declared()
    (declared.hasKnownWeights, declared.images) = (knowsWeights, images)
    return try report(transport, declared, only: ids)
  }

  static func report(
    _ transport: any Transport, _ declared: Declared, only ids: Set<String>? = nil
  ) throws -> Report {
    let tokenizer = try fixtureTokenizer()
    let suite = try EndpointSuite(fixtures)
    let endpoint = try Endpoint(transport, place: "test", declared, tokenizer: tokenizer, suite: suite)
    let run = ConformanceRun(
      suite.cases.filter { ids?.contains($0.id) ?? true }, tokenizer: tokenizer, faults: FaultAnswers(),
      checkpoints: CheckpointFolders(in: "", tokenizerFile: ""))
    let verdicts = try run(endpoint) { _ in endpoint }
    return Report(
      endpoint.description, verdicts, known: [:],
      findings: try endpoint.findings(verdicts, tokenizer: tokenizer))
  }

  /// The report on what was recorded, altered.
  static func report(
    knowsWeights: Bool = true, images: ImagesRule = .mistral,
    _ change: @escaping @Sendable (JSON) -> JSON = { $0 }
  ) async throws -> Report {
    let path = try await recorded.value.path
    return try report(Altered(try Replay(path), change), knowsWeights: knowsWeights, images: images)
  }

  /// The report on our own server, altered, as it answers now.
  static func liveReport(
    knowsWeights: Bool = true, _ change: @escaping @Sendable (JSON) -> JSON
  ) async throws -> Report {
    let server = try await RunningServer("seeded:small")
    let found = try await elsewhere { [port = server.port] in
      let client = judgeClient(port)
      return try Self.report(Altered(client, change), knowsWeights: knowsWeights)
    }
    withExtendedLifetime(server) {}
    return found
  }

  static func suspects(_ report: Report) -> [String] {
    guard case .array(let list)? = report.findings?.json["suspects"] else { return [] }
    return list.compactMap { $0["name"]?.plainText }
  }

  static func verdict(_ id: String, _ report: Report) throws -> CaseVerdict {
    try #require(report.verdicts.first { $0.id == id })
  }

  // MARK: - Changes

  static func replacing(_ key: String, _ json: JSON, _ change: (JSON) -> JSON) -> JSON {
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

  static func logprobs(_ json: JSON, _ change: (Double) -> Double) -> JSON {
    replacing("logprob", json) { $0.decimal.map { .number(change($0)) } ?? $0 }
  }

  static func without(_ keys: [String], _ json: JSON) -> JSON {
    guard case .object(let members) = json else { return json }
    return .object(members.filter { !keys.contains($0.key) })
  }
}
