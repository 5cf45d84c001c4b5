import PixtralReference
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralConformance

/// What many log-probabilities show together that none shows alone.
@Suite("Along a mistake")
struct AlongMistakeTests {
  private static let prompts = (0..<10).map { "prompt-\($0)" }

  /// What is right behind a prompt: ten tokens.
  private static func right(_ prompt: Int) -> [KnownToken] {
    (0..<10).map { KnownToken(id: 100 * prompt + $0, logprob: -2 - 0.1 * Double($0)) }
  }

  /// How far the mistake moves a token.
  private static func mistake(_ prompt: Int, _ token: Int) -> Double {
    [0.3, -0.2, 0.1, -0.4, 0.2, -0.1, 0.4, -0.3, 0.2, -0.2][(token + prompt) % 10]
  }

  private static let suspect: KnownSuspect = {
    let rows = prompts.indices.map { prompt in
      right(prompt).enumerated().map { KnownToken(id: $1.id, logprob: $1.logprob + mistake(prompt, $0)) }
    }
    let told = prompts.enumerated().map { JSON.Member(key: $1, value: ["row": .integer($0)]) }
    return try! KnownSuspect(["suspect": "V-gelu~tanh", "prompts": .object(told)], rows, "test")
  }()

  /// What is told with a part of the mistake in it, with noise, and with something else.
  private func found(_ amount: Double, noise: Double, else other: Double = 0) throws -> AlongMistake {
    var draw = Draw(seed: 7)
    let observations = Self.prompts.enumerated().map { prompt, name in
      let right = Self.right(prompt)
      let told = right.enumerated().map { n, token in
        let accident =
          noise.squareRoot() * Double.random(in: -1...1, using: &draw) + other
          * Double((prompt * 7 + n * 3) % 5 - 2)
        return Told.Likely(
          spelling: "", candidates: [token.id],
          logprob: token.logprob + amount * Self.mistake(prompt, n) + accident)
      }
      return Suspects.Observation(
        prompt: name, count: nil, hash: nil, rightCount: 1, rightHash: "", best: told, floor: nil,
        golden: right,
        noise: noise)
    }
    return try #require(AlongMistake(Self.suspect, observations))
  }

  @Test("One that moves each log-probability by no more than three times the noise is seen")
  func made() throws {
    let found = try found(1, noise: 0.01)
    #expect(found.verdict == .made)
    #expect(abs(found.amount - 1) < 3 * found.error)
    #expect(found.id == "V-gelu")
  }

  @Test("One that is not there is ruled out")
  func absent() throws {
    let found = try found(0, noise: 0.01)
    #expect(found.verdict == .absent)
    #expect(abs(found.amount) < 3 * found.error)
  }

  @Test("Of one that is too small nobody can say", arguments: [0.0, 1.0])
  func open(amount: Double) throws {
    #expect(try found(amount, noise: 4).verdict == .open)
  }

  @Test("Three times of it is no mistake that is known")
  func tooMuch() throws {
    #expect(try found(3, noise: 0.01).verdict != .made)
  }

  @Test("Beside much else it is neither made nor ruled out", arguments: [0.0, 1.0])
  func beside(amount: Double) throws {
    #expect(try found(amount, noise: 1e-6, else: 0.3).verdict == .open)
  }
}
