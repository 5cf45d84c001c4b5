import Foundation
import PixtralReference
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralConformance

/// Servers judged anew from all that they said once: the public ones of Docs/Runtimes.md, of which
/// Tools/runtimes/judge_server.py makes the recordings and the reports, and altered ones.
@Suite("Recordings of servers")
struct RecordedServersTests {
  private static let reports = "\(fixtures)/runtimes/servers"
  private static let recordings = "\(checkout)/Tools/runtimes/recordings"

  static let names = try! FileManager.default.contentsOfDirectory(atPath: reports).sorted().map {
    String($0.dropLast(".json".count))
  }

  @Test("Each has the verdicts and the suspects of its report", arguments: names)
  func verdict(name: String) throws {
    let known = try JSON(
      parsing: String(contentsOfFile: "\(Self.reports)/\(name).json", encoding: .utf8), place: name)
    let replay = try Replay("\(Self.recordings)/\(name).jsonl")
    let report = try EndpointVerdictTests.report(replay, replay.declared)
    #expect(replay.failure == nil)

    var stages: [String: [String: Int]] = [:]
    for verdict in report.verdicts {
      let part = String(verdict.id.split(separator: "/")[1])
      stages[part, default: [:]][verdict.verdict.rawValue, default: 0] += 1
    }
    #expect(stages == Self.counts(known["stages"]))
    let suspects = known["suspects"]?.array?.compactMap { $0["name"]?.string }
    #expect(Array(EndpointVerdictTests.suspects(report).prefix(3)) == suspects)
    #expect(report.findings?.json["log_probabilities"]?["verdict"] == known["kl"]?["verdict"])
    let fits = (report.findings?.json["mistakes"]?.array ?? []).compactMap { $0["verdict"]?.string }
    #expect(
      ["mistakes": Dictionary(grouping: fits) { $0 }.mapValues(\.count)]
        == Self.counts(["mistakes": known["mistakes"] ?? .null]))
  }

  /// Members that are objects of numbers.
  private static func counts(_ json: JSON?) -> [String: [String: Int]] {
    guard case .object(let parts)? = json else { return [:] }
    return Dictionary(
      uniqueKeysWithValues: parts.map { part in
        guard case .object(let words) = part.value else { return (part.key, [:]) }
        return (part.key, Dictionary(uniqueKeysWithValues: words.map { ($0.key, $0.value.integer ?? -1) }))
      })
  }

  // MARK: - Servers by transformers in bfloat16, which Tools/checks/check_endpoint.py --keep records

  private static let altered = "\(checkout)/Tools/checks/recordings"

  private func report(_ alteration: String, only ids: Set<String>? = nil) throws -> Report {
    let replay = try Replay("\(Self.altered)/\(alteration).jsonl")
    return try EndpointVerdictTests.report(replay, replay.declared, only: ids)
  }

  private func fits(_ report: Report, _ verdict: String) -> Set<String> {
    let fits = report.findings?.json["mistakes"]?.array ?? []
    return Set(fits.filter { $0["verdict"]?.string == verdict }.compactMap { $0["looks_like"]?.string })
  }

  @Test(
    "All prompts together show a mistake that none of them shows surely",
    arguments: [("vision-gelu", "V-gelu"), ("same-frequencies", "V-same-freqs")])
  func together(alteration: String, mistake: String) throws {
    let report = try report(alteration)
    #expect(report.failures.map(\.id) == [EndpointCases.mistakesID])
    #expect(report.failures.map(\.looksLike) == [[mistake]])
    #expect(fits(report, "made") == [mistake])
    #expect(EndpointVerdictTests.suspects(report).first?.split(separator: "~").first == mistake[...])
  }

  @Test("The case of known mistakes has its name when it is asked alone")
  func alone() throws {
    let report = try report("vision-gelu", only: [EndpointCases.mistakesID])
    #expect(report.failures.map(\.looksLike) == [["V-gelu"]])
  }

  @Test(
    "Where right runs in another arithmetic are as far off, that is said",
    arguments: [Arithmetic.float32, .bfloat16])
  func otherArithmetic(declared arithmetic: Arithmetic) throws {
    let replay = try Replay("\(Self.altered)/nothing.jsonl")
    var declared = replay.declared
    declared.arithmetic = arithmetic
    let report = try EndpointVerdictTests.report(replay, declared)
    let fitting = report.findings?.json["log_probabilities"]?["fits_arithmetic"]
    #expect(fitting == (arithmetic == .float32 ? "bfloat16" : .null))
  }

  @Test(
    "Of a right server mistakes of some size are ruled out, and those that are too small for bfloat16 are not"
  )
  func nothing() throws {
    let report = try report("nothing")
    #expect(report.failures.isEmpty && fits(report, "made").isEmpty)
    #expect(
      fits(report, "absent").isSuperset(of: ["V-gelu", "V-same-freqs", "V-no-mask", "D-theta", "V-swap-hw"]))
    #expect(fits(report, "open").isSuperset(of: ["A-tanh", "D-eps", "P-f16"]))
  }

  @Test("A recording says nothing of the machine that it was made on", arguments: [recordings, altered])
  func noPlace(folder: String) throws {
    let files = try FileManager.default.contentsOfDirectory(atPath: folder)
    #expect(!files.isEmpty)
    for file in files {
      let text = try String(contentsOfFile: "\(folder)/\(file)", encoding: .utf8)
      #expect(!text.contains(#/"[^"]*\/(tmp|root|home|work)\//#), "\(file)")
    }
  }
}
