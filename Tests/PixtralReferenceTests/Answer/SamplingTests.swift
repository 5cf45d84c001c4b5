import Foundation
import Testing

@testable import PixtralReference

@Suite("The choice of a token")
struct SamplingTests {
  private func chosen(_ logits: [Double], _ sampling: Sampling, _ count: Int) throws -> [Int] {
    var sampler = Sampler(sampling)
    let prediction = try Prediction(logits, position: 0)
    return (0..<count).map { _ in sampler.choose(prediction) }
  }

  @Test("The generator is SplitMix64: the numbers that its author's program prints")
  func generator() {
    var random = SplitMix64(state: 1_234_567)
    let numbers = (0..<5).map { _ in random.next() }
    #expect(
      numbers == [
        6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
      ])
  }

  @Test("Among equals a token is as many steps from the first as its number says")
  func uniform() throws {
    let equal = [Double](repeating: 0, count: 20)
    #expect(try chosen(equal, Sampling(temperature: 1, seed: 0), 5) == [17, 8, 0, 19, 2])
    #expect(try chosen(equal, Sampling(temperature: 1, seed: 3), 5) == [2, 14, 12, 1, 4])
  }

  @Test("A temperature of 0 takes the most likely token, of equal ones the lowest id")
  func greedy() throws {
    #expect(try chosen([1, 3, 3, 2], Sampling(seed: 5), 20) == [Int](repeating: 1, count: 20))
  }

  @Test("A low temperature takes the most likely token, a high one all alike")
  func temperatures() throws {
    let logits = [0.0, 1, 2, 3]
    #expect(Set(try chosen(logits, Sampling(temperature: 0.01), 200)) == [3])
    #expect(Set(try chosen(logits, Sampling(temperature: 100), 200)) == [0, 1, 2, 3])
  }

  @Test("Only the likeliest tokens that come to the share are chosen from, the one that reaches it too")
  func share() throws {
    // Probabilities 0.4, 0.3, 0.2, 0.1.
    let logits = [0.1, 0.4, 0.2, 0.3].map { log($0) }
    #expect(Set(try chosen(logits, Sampling(temperature: 1, topP: 0.39), 400)) == [1])
    #expect(Set(try chosen(logits, Sampling(temperature: 1, topP: 0.41), 400)) == [1, 3])
    #expect(Set(try chosen(logits, Sampling(temperature: 1, topP: 0.71), 400)) == [1, 3, 2])
    #expect(Set(try chosen(logits, Sampling(temperature: 1, topP: 1), 400)) == [0, 1, 2, 3])
  }

  @Test(
    "Temperatures and shares at the ends of their ranges choose as the rules say",
    arguments: [
      (5e-324, 1, [1]), (1e-300, 1, [1]), (1e300, 1, [0, 1, 2]), (1, 5e-324, [1]), (1e300, 1e-9, [1]),
    ] as [(Double, Double, [Int])])
  func ends(temperature: Double, topP: Double, expected: [Int]) throws {
    let sampling = Sampling(temperature: temperature, topP: topP)
    #expect(Set(try chosen([0, 0.1, -800], sampling, 100)) == Set(expected))
  }

  @Test("A share of 0 leaves the most likely token")
  func noShare() throws {
    #expect(Set(try chosen([0, 0.1, 0], Sampling(temperature: 1, topP: 0), 100)) == [1])
  }

  @Test("The share is of what the temperature makes of the probabilities")
  func shareAfterTemperature() throws {
    // 0.8 and 0.2; at a temperature of 2 they are 2/3 and 1/3.
    let logits = [0.8, 0.2].map { log($0) }
    #expect(Set(try chosen(logits, Sampling(temperature: 1, topP: 0.7), 200)) == [0])
    #expect(Set(try chosen(logits, Sampling(temperature: 2, topP: 0.7), 200)) == [0, 1])
  }

  @Test("Tokens come as often as their probabilities say")
  func frequencies() throws {
    let all = try chosen([0.5, 0.25, 0.25].map { log($0) }, Sampling(temperature: 1, seed: 9), 4000)
    // Five standard deviations are 158 and 137.
    #expect(abs(all.count { $0 == 0 } - 2000) < 158)
    #expect(abs(all.count { $0 == 1 } - 1000) < 137)
  }
}
