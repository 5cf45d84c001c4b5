import PixtralImage
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

/// seeded:tiny against the float64 NumPy oracle; tokens and pixels against mistral-common.
@Suite("Goldens of seeded:tiny")
struct GoldenTests {
  static let names = ["text", "image", "two-images", "small-rgba", "long"]
  let checkpoint: Checkpoint

  init() throws { checkpoint = try Checkpoint("seeded:tiny") }

  @Test("The request becomes mistral-common's tokens, text and pixels", arguments: names)
  func tokensAndPixels(name: String) throws {
    let golden = try ModelCase(name)
    let recorder = MemoryRecorder()
    let tokenizer = try fixtureTokenizer()
    _ = try Pixtral<Float>(checkpoint)(golden.request, tokenizer: tokenizer, trace: Trace(recorder))
    let prompt = try #require(recorder.prompt)
    #expect(prompt.tokens == golden.expect["tokens"]?.integers)
    #expect(tokenizer.text(of: prompt.tokens) == golden.expect["text"]?.string)
    let grids = golden.pixels.map { $0.grid(patchSize: 16) }
    #expect(prompt.images.map(\.grid) == grids)
    let pixels = try golden.request.loadImages().map { Pixels(try $0.get().rgb()) }
    #expect(pixels.count == golden.pixels.count)
    for (found, expected) in zip(pixels, golden.pixels) {
      #expect(found.height == expected.height && found.width == expected.width)
      // The limit of the suites image/pixels.
      #expect(zip(found.values, expected.values).allSatisfy { abs($0 - $1) <= 1e-5 })
    }
  }

  @Test("The whole way from the request gives the oracle's taps, through pixels of our own", arguments: names)
  func wholeWay(name: String) throws {
    let golden = try ModelCase(name)
    let recorder = MemoryRecorder()
    _ = try Pixtral<Double>(checkpoint)(
      golden.request, tokenizer: fixtureTokenizer(), logitRows: nil, trace: Trace(recorder))
    // Pixels are float32 and within 1e-5 of mistral-common's: so far may the taps be.
    for tap in golden.taps {
      let found = golden.rows(tap.name, of: try #require(recorder[tap.name], "no tap \(tap.name)"))
      #expect(relF(found, tap.vector()) <= 1e-4, "\(tap.name)")
    }
  }

  @Test("Every tap is within the case's own limit, in both precisions", arguments: names, Precision.allCases)
  func taps(name: String, precision: Precision) throws {
    let golden = try ModelCase(name)
    let recorder = try precision == .float32 ? run(golden, Float.self) : run(golden, Double.self)
    #expect(golden.taps.count >= 48)
    for tap in golden.taps {
      let found = golden.rows(tap.name, of: try #require(recorder[tap.name], "no tap \(tap.name)"))
      let limit = try golden.limit(tap.name, precision)
      #expect(relF(found, tap.vector()) <= limit, "\(tap.name)")
    }
  }

  @Test("The taps are the oracle's, no more and no fewer", arguments: names)
  func closedList(name: String) throws {
    let golden = try ModelCase(name)
    #expect(try Set(run(golden, Float.self).taps.map(\.name)) == Set(golden.taps.map(\.name)))
  }

  private func run<Scalar: BLASScalar>(_ golden: ModelCase, _: Scalar.Type) throws -> MemoryRecorder {
    let recorder = MemoryRecorder()
    _ = try Pixtral<Scalar>(checkpoint)(golden.prompt, trace: Trace(recorder))
    return recorder
  }
}
