import TestSupport
import Testing

@testable import PixtralReference

/// Taps with heads as a dimension, of a run with as many tokens as heads, or with one: where the shape
/// alone does not say which dimension is which.
@Suite("Heads and rows that look alike")
struct HeadFormTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private enum Form: CaseIterable { case rowsFirst, headsFirst }

  private func taps(tokens: [Int]) throws -> [(name: String, matrix: Matrix<Double>)] {
    let recorder = MemoryRecorder()
    _ = try Pixtral<Double>(Checkpoint("seeded:tiny"))(Prompt(tokens: tokens), trace: Trace(recorder))
    return recorder.taps
  }

  /// The run against itself, q, k, v and context stored with a dimension of heads; `form` says how.
  private func compare(
    tokens: [Int], halfSplit: Bool = false, spoil: (String, inout Matrix<Double>) -> Void = { _, _ in },
    _ form: (String) -> Form
  ) throws -> Comparison {
    let taps = try taps(tokens: tokens)
    var (reference, candidate) = (TensorFile(), TensorFile())
    for (name, matrix) in taps {
      reference.addDoubles(name, [matrix.rows, matrix.columns], matrix.values)
      var matrix = matrix
      spoil(name, &matrix)
      let kinds = ["q", "k", "v", "q_rotated", "k_rotated", "context"]
      guard kinds.contains(where: { name.hasSuffix("attention.\($0)") }) else {
        candidate.addDoubles(name, [matrix.rows, matrix.columns], matrix.values)
        continue
      }
      let (rows, width) = (matrix.rows, 20)
      let heads = matrix.columns / width
      let isRotary = !name.hasSuffix("v") && !name.hasSuffix("context")
      func value(_ row: Int, _ head: Int, _ column: Int) -> Double {
        let source = column < width / 2 ? 2 * column : 2 * column - width + 1
        return matrix[row, head * width + (halfSplit && isRotary ? source : column)]
      }
      func vector(_ row: Int, _ head: Int) -> [Double] { (0..<width).map { value(row, head, $0) } }
      switch form(name) {
      case .rowsFirst:
        let values = (0..<rows).flatMap { row in (0..<heads).flatMap { vector(row, $0) } }
        candidate.addDoubles(name, [rows, heads, width], values)
      case .headsFirst:
        let values = (0..<heads).flatMap { head in (0..<rows).flatMap { vector($0, head) } }
        candidate.addDoubles(name, [heads, rows, width], values)
      }
    }
    return try Comparison(
      reference: TraceFile(folder.write("reference.safetensors", reference.bytes)),
      candidate: TraceFile(folder.write("candidate.safetensors", candidate.bytes)))
  }

  @Test(
    "Of as many heads as rows the reading is taken that is close", arguments: [false, true], [false, true])
  func asManyHeadsAsRows(headsFirst: Bool, halfSplit: Bool) throws {
    let comparison = try compare(tokens: [1, 5, 6, 7, 8, 9], halfSplit: halfSplit) { _ in
      headsFirst ? .headsFirst : .rowsFirst
    }
    #expect(comparison.firstDivergence?.name == nil)
    #expect(
      comparison.notes.contains(
        "9 taps of the candidate: as many heads as rows, and read as what is nearer"))
  }

  @Test("Each kind of tap has its own form, as in transformers, the same in every layer")
  func mixed() throws {
    let comparison = try compare(tokens: [1, 5, 6, 7, 8, 9]) { name in
      name.hasSuffix("context") ? .rowsFirst : .headsFirst
    }
    #expect(comparison.passed)
  }

  @Test("A fault does not turn rows and heads about", arguments: [false, true])
  func fault(headsFirst: Bool) throws {
    let comparison = try compare(
      tokens: [1, 5, 6, 7, 8, 9],
      spoil: { name, matrix in
        if name == "decoder.layers.0.attention.context" {
          for column in 0..<matrix.columns { matrix[2, column] *= 1.5 }
        }
      },
      { _ in headsFirst ? .headsFirst : .rowsFirst })
    #expect(comparison.taps.filter { !$0.passed }.map(\.name) == ["decoder.layers.0.attention.context"])
    guard case .far(let distance)? = comparison.firstDivergence?.verdict else {
      return #expect(Bool(false), "must be far")
    }
    #expect(distance.worstRowIndex == 2)
  }

  @Test("Of one token too", arguments: [false, true])
  func oneToken(headsFirst: Bool) throws {
    #expect(try compare(tokens: [1]) { _ in headsFirst ? .headsFirst : .rowsFirst }.passed)
  }
}
