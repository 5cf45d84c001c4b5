import PixtralImage
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Prefill in parts")
struct CacheTests {
  let checkpoint: Checkpoint

  init() throws { checkpoint = try Checkpoint("seeded:tiny") }

  @Test("Two parts through the key-value cache give the logits of one go", arguments: [1, 20, 57])
  func twoParts(first: Int) throws {
    let prompt = try ModelCase("two-images").prompt
    #expect(try distance(prompt, cuts: [first], Float.self) <= 2e-6)
    #expect(try distance(prompt, cuts: [first], Double.self) <= 1e-13)
  }

  @Test("As many parts as there are tokens give the logits of one go")
  func oneTokenAtATime() throws {
    let prompt = try ModelCase("small-rgba").prompt
    #expect(try distance(prompt, cuts: Array(1..<prompt.tokens.count), Double.self) <= 1e-13)
  }

  @Test("The attention maps of a part have a column for each position before it too")
  func maps() throws {
    let prompt = try ModelCase("text").prompt
    let model = Pixtral<Double>(checkpoint)
    let whole = MemoryRecorder(onDemand: true)
    _ = try model(prompt, trace: Trace(whole))
    let cache = KeyValueCache<Double>(for: checkpoint.parameters)
    let rows = try model.embeddings(of: prompt)
    _ = try model.logits(rows.rows(0..<40), cache: cache)
    let part = MemoryRecorder(onDemand: true)
    _ = try model.logits(rows.rows(40..<rows.rows), cache: cache, trace: Trace(part))
    let name = "decoder.layers.1.attention.weights"
    let (expected, found) = (try #require(whole[name]), try #require(part[name]))
    #expect(relF(found.values, expected.rows(40..<expected.rows).values) <= 1e-13)
  }

  /// relF of the logits in parts against those in one go.
  private func distance<Scalar: BLASScalar>(_ prompt: Prompt, cuts: [Int], _: Scalar.Type) throws -> Double {
    let model = Pixtral<Scalar>(checkpoint)
    let whole = try model(prompt)
    let cache = KeyValueCache<Scalar>(for: checkpoint.parameters)
    let rows = try model.embeddings(of: prompt)
    var parts: [Scalar] = []
    for (start, end) in zip([0] + cuts, cuts + [prompt.tokens.count]) {
      parts += try model.logits(rows.rows(start..<end), cache: cache).values
    }
    #expect(cache.count == prompt.tokens.count)
    return relF(parts.map(Double.init), whole.values.map(Double.init))
  }
}
