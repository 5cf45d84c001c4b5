import Foundation
import PixtralReference
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralConformance

/// The public servers of Docs/Runtimes.md, judged anew from all that they said once. Tools/runtimes/judge_server.py
/// makes the recordings and the reports.
@Suite("Recordings of public servers")
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
    for (part, counts) in stages {
      for (word, count) in counts {
        #expect(known["stages"]?[part]?[word]?.integer == count, "\(part): \(word)")
      }
    }
    let suspects = known["suspects"]?.array?.compactMap { $0["name"]?.string }
    #expect(Array(EndpointVerdictTests.suspects(report).prefix(3)) == suspects)
    #expect(report.findings?.json["log_probabilities"]?["verdict"] == known["kl"]?["verdict"])
  }

  @Test(
    "In bfloat16 all prompts together show a mistake that none shows surely",
    arguments: [("nothing", nil), ("vision-gelu", "V-gelu"), ("same-frequencies", "V-same-freqs")])
  func together(alteration: String, mistake: String?) throws {
    let replay = try Replay("\(checkout)/Tools/checks/recordings/\(alteration).jsonl")
    let report = try EndpointVerdictTests.report(replay, replay.declared)
    let failed = report.verdicts.filter(\.verdict.isFailure).map(\.id)
    #expect(failed == (mistake == nil ? [] : [EndpointCases.mistakesID]))
    let first = EndpointVerdictTests.suspects(report).first?.split(separator: "~").first.map(String.init)
    #expect(first == mistake)
  }

  @Test("A recording says nothing of the machine that it was made on", arguments: names)
  func noPlace(name: String) throws {
    let text = try String(contentsOfFile: "\(Self.recordings)/\(name).jsonl", encoding: .utf8)
    #expect(!text.contains(#/"[^"]*\/(tmp|root|home|work)\//#))
  }
}
