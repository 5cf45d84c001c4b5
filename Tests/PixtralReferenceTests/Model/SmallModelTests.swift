import Foundation
import PixtralImage
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Properties of the model")
struct SmallModelTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test("Attention weights are the softmax of the scores, and both have a column for each head and key")
  func weightsOfScores() throws {
    let recorder = MemoryRecorder(onDemand: true)
    let prompt = try ModelCase("two-images").prompt
    _ = try Pixtral<Double>(Checkpoint("seeded:tiny"))(prompt, trace: Trace(recorder))
    for (layer, heads, keys) in [("vision.layers.1", 5, 33), ("decoder.layers.2", 6, prompt.tokens.count)] {
      let scores = try #require(recorder["\(layer).attention.scores"])
      let weights = try #require(recorder["\(layer).attention.weights"])
      #expect(scores.columns == heads * keys && weights.columns == heads * keys)
      for row in 0..<scores.rows {
        for head in 0..<heads {
          let exponentials = scores.row(row).dropFirst(head * keys).prefix(keys).map { Double.exp($0) }
          let sum = exponentials.reduce(0, +)
          let found = weights.row(row).dropFirst(head * keys).prefix(keys)
          #expect(zip(found, exponentials).allSatisfy { abs($0 - $1 / sum) < 1e-12 })
        }
      }
    }
  }

  @Test("float32 and float64 weights of one model give the same within float32")
  func precisions() throws {
    let checkpoint = try Checkpoint(smallCheckpoint(in: folder))
    let pixels = Pixels(height: 2, width: 4, values: (0..<24).map { Float($0) / 12 - 1 })
    let prompt = Prompt(tokens: [1, 10, 10, 15, 3], pixels: [pixels])
    let double = try Pixtral<Double>(checkpoint)(prompt).values
    let float = try Pixtral<Float>(checkpoint)(prompt).values
    #expect(relF(float.map(Double.init), double) < 1e-5)
    #expect(double.count == 5 * 20)
  }

  @Test("The last row of logits alone is the last of all rows")
  func lastRow() throws {
    let checkpoint = try Checkpoint(smallCheckpoint(in: folder))
    let prompt = Prompt(tokens: [1, 3, 4], pixels: [])
    let all = try Pixtral<Double>(checkpoint)(prompt)
    let last = try Pixtral<Double>(checkpoint)(prompt, logitRows: 1)
    #expect(last.values == Array(all.row(2)))
  }

  @Test("A biased adapter adds its biases")
  func adapterBias() throws {
    let parameters = smallParameters.replacingOccurrences(of: #", "adapter_bias": false"#, with: "")
    func withBias(_ value: Float, in folder: TemporaryFolder) throws -> Checkpoint {
      try Checkpoint(
        smallCheckpoint(in: folder, parameters: parameters) { file in
          file.add("vision_language_adapter.w_in.bias", [4], [Float](repeating: 0, count: 4))
          file.add("vision_language_adapter.w_out.bias", [4], [Float](repeating: value, count: 4))
        })
    }
    let prompt = Prompt(
      tokens: [10], pixels: [Pixels(height: 2, width: 2, values: [Float](repeating: 0.5, count: 12))])
    var rows: [[Double]] = []
    for value: Float in [0, 8] {
      let recorder = MemoryRecorder()
      _ = try Pixtral<Double>(withBias(value, in: try TemporaryFolder()))(prompt, trace: Trace(recorder))
      rows.append(try #require(recorder["adapter.w_out"]).values)
    }
    #expect(zip(rows[0], rows[1]).allSatisfy { abs($1 - $0 - 8) < 1e-12 })
  }
}
