import Testing

@testable import PixtralReference

/// seeded:tiny against the float64 NumPy oracle; tokens and pixels against mistral-common.
@Suite("Goldens of seeded:tiny")
struct GoldenTests {
  static let names = ["text", "image", "two-images", "small-rgba", "long"]
  let checkpoint = try! Checkpoint("seeded:tiny")
  let tokenizer = try! fixtureTokenizer()

  @Test("The request becomes mistral-common's tokens, text and pixels", arguments: names)
  func tokensAndPixels(name: String) throws {
    let golden = try ModelCase(name)
    let prompt = try Prompt(golden.request, tokenizer: tokenizer, imageRule: ImageRule(checkpoint.parameters.vision))
    #expect(prompt.tokens == golden.expect["tokens"]?.integers)
    #expect(tokenizer.text(of: prompt.tokens) == golden.expect["text"]?.string)
    #expect(prompt.images.count == golden.pixels.count)
    for (found, expected) in zip(prompt.images, golden.pixels) {
      #expect(found.height == expected.height && found.width == expected.width)
      #expect(zip(found.values, expected.values).map { abs($0 - $1) }.max()! <= 1e-5)
    }
  }

  @Test("In float64 every tap is within 1e-11 of the oracle", arguments: names)
  func float64(name: String) throws {
    let golden = try ModelCase(name)
    let recorder = try run(golden, Double.self)
    #expect(golden.taps.count >= 48)
    for tap in golden.taps {
      let found = golden.rows(tap.name, of: try #require(recorder[tap.name], "no tap \(tap.name)"))
      let distance = relF(found, tap.vector())
      #expect(distance <= 1e-11, "\(tap.name)")
    }
  }

  @Test("In float32 every tap is within 4 times transformers' own distance", arguments: names)
  func float32(name: String) throws {
    let golden = try ModelCase(name)
    let recorder = try run(golden, Float.self)
    for tap in golden.taps {
      let found = golden.rows(tap.name, of: try #require(recorder[tap.name], "no tap \(tap.name)"))
      let distance = relF(found, tap.vector())
      #expect(distance <= 4 * (try #require(golden.witness(tap.name), "no witness of \(tap.name)")), "\(tap.name)")
    }
  }

  @Test("The taps are the oracle's, no more and no fewer", arguments: names)
  func closedList(name: String) throws {
    let golden = try ModelCase(name)
    #expect(try Set(run(golden, Float.self).taps.map(\.name)) == Set(golden.taps.map(\.name)))
  }

  @Test("The golden would notice one image seeing the other", .tags(.judge))
  func goldenSeesTheMask() throws {
    let golden = try ModelCase("two-images")
    let one = golden.prompt.images
    // Each image alone: what the vision encoder gives for it does not depend on the other.
    let together = try run(golden, Double.self)
    let patches = one.map { $0.grid(patchSize: 16).patches }
    let alone = MemoryRecorder()
    let tokens = golden.prompt.tokens.enumerated().filter { $1 != 10 }.map(\.element) + [Int](repeating: 10, count: patches[1])
    _ = try Pixtral<Double>(checkpoint).logits(Prompt(tokens: tokens, images: [one[1]]), trace: Trace(alone))
    let second = Array(try #require(together["adapter.w_out"]).values.suffix(patches[1] * 80))
    #expect(relF(second, try #require(alone["adapter.w_out"]).values) < 1e-14)
  }

  private func run<Scalar: Real>(_ golden: ModelCase, _: Scalar.Type) throws -> MemoryRecorder {
    let recorder = MemoryRecorder()
    try golden.prompt.check(against: checkpoint.parameters)
    _ = try Pixtral<Scalar>(checkpoint).logits(golden.prompt, trace: Trace(recorder))
    return recorder
  }
}

extension Tag {
  /// Tests of the tests: wrong answers must be noticed.
  @Tag static var judge: Tag
}
