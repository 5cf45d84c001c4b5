import PixtralReference
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralConformance

@Suite("Mistakes called by their names")
struct NamingTests {
  /// A verdict on a question of one kind.
  private func verdict(
    _ id: String, _ verdict: CaseVerdict.Verdict, _ explaining: [String: Bool],
    kind: String = "image size to grid"
  ) throws -> CaseVerdict {
    let json = """
      {"id": "\(id)", "title": "", "stage": "grid", "exposes": [], "requires": [], "conflicts_with": [],
       "subject": {"operation": "\(kind)"}}
      """
    let question = try Array(json.utf8).withUnsafeBytes {
      try ConformanceCase(PythonValue(json: $0, place: id), request: nil, folder: "", place: id)
    }
    var result = CaseVerdict(question, verdict)
    result.explaining = explaining
    return result
  }

  private func names(_ verdicts: [CaseVerdict]) -> [[String]] {
    let naming = Naming(verdicts)
    return verdicts.map(naming.names)
  }

  @Test("A mistake whose answer is the runtime's is named")
  func named() throws {
    #expect(names([try verdict("a", .failed, ["G-floor": true, "G-ceil": false])]) == [["G-floor"]])
  }

  @Test("Two mistakes that explain it equally are both named")
  func tie() throws {
    #expect(names([try verdict("a", .failed, ["G-floor": true, "G-32": true])]) == [["G-32", "G-floor"]])
  }

  @Test("Of two, the one is named that explains more")
  func more() throws {
    let found = names([
      try verdict("a", .failed, ["G-floor": true, "G-32": true]),
      try verdict("b", .failed, ["G-floor": true]),
    ])
    #expect(found == [["G-floor"], ["G-floor"]])
  }

  @Test("A right answer that the mistake would not give speaks against it")
  func refuted() throws {
    let found = names([
      try verdict("a", .failed, ["G-floor": true]), try verdict("b", .passed, ["G-floor": false]),
    ])
    #expect(found == [[], []])
  }

  @Test("A right answer to a question of another kind does not")
  func otherKind() throws {
    let found = names([
      try verdict("a", .failed, ["G-floor": true]),
      try verdict("b", .passed, ["G-floor": false], kind: "another"),
    ])
    #expect(found == [["G-floor"], []])
  }

  @Test("What explains fewer than nine of ten wrong answers is not named")
  func mixed() throws {
    let explained = try (0..<8).map { try verdict("\($0)", .failed, ["G-floor": true]) }
    #expect(names(explained + [try verdict("x", .failed, ["G-floor": false])]).allSatisfy(\.isEmpty))
  }

  @Test("A mistake that leaves most failures of a kind unexplained is not named")
  func other() throws {
    let others = try (0..<5).map { try verdict("\($0)", .failed, [:]) }
    #expect(names([try verdict("a", .failed, ["G-floor": true])] + others).allSatisfy(\.isEmpty))
  }

  @Test("What a case alone cannot tell is named where others can")
  func mayExplain() throws {
    var single = try verdict("a", .failed, [:])
    single.mayExplain = ["A-bias"]
    #expect(names([single]) == [[]])
    #expect(names([single, try verdict("b", .failed, ["A-bias": true])]) == [["A-bias"], ["A-bias"]])
  }

  @Test("Forms of one mistake are one")
  func forms() throws {
    let found = names([try verdict("a", .failed, ["T-spacing": true, "T-spacing~doubled": true])])
    #expect(found == [["T-spacing"]])
  }

  @Test("A refusal to load names the mistake whose numbers it says, and no other")
  func refusals() throws {
    let faults = try FaultAnswers("\(fixtures)/faults")
    func names(_ refusal: String) -> [String] {
      faults.explaining(refusal: refusal, of: "seeded:tiny").filter(\.value).keys.sorted()
    }
    #expect(names("layers.0.attention.wq.weight: expected [78, 80], found [120, 80]") == ["D-square"])
    #expect(names("hidden size 1024 instead of 60") == ["V-12b-shapes"])
    #expect(names("no tensor output.weight") == [])
  }

  @Test("The right answer of a case is no mistake's")
  func rightAnswer() throws {
    let faults = try FaultAnswers("\(fixtures)/faults")
    let right = faults.explaining("image/grid/1025x49", written: Array("64x4".utf8))
    #expect(!right.isEmpty && right.allSatisfy { !$0.value })
    #expect(faults.explaining("image/grid/1025x49", written: Array("64x3".utf8))["G-floor"] == true)
  }
}
