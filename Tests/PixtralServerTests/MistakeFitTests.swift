import PixtralReference
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralConformance

/// What many log-probabilities show together that none shows alone.
@Suite("The fit of a mistake")
struct MistakeFitTests {
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
  private func found(_ amount: Double, noise: Double, else other: Double = 0) throws -> MistakeFit {
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
      return Observation(
        prompt: name, count: nil, hash: nil, right: (1, ""), best: told, floor: nil,
        golden: right,
        noise: noise)
    }
    return try #require(MistakeFit(Self.suspect, observations))
  }

  @Test("One that moves each log-probability by a few times the noise is made")
  func made() throws {
    let found = try found(1, noise: 0.01)
    #expect(found.verdict == .made)
    #expect(abs(found.amount - 1) < 3 * found.standardError)
    #expect(found.id == "V-gelu")
  }

  @Test("One that is not there is ruled out")
  func absent() throws {
    let found = try found(0, noise: 0.01)
    #expect(found.verdict == .absent)
    #expect(abs(found.amount) < 3 * found.standardError)
  }

  @Test("Of one that is too small nobody can say", arguments: [0.0, 1.0])
  func tooSmall(amount: Double) throws {
    let found = try found(amount, noise: 4)
    #expect(found.verdict == .open && !found.isDoubtful)
  }

  @Test(
    "One that is there in part, or more than once, is neither made nor ruled out, and doubtful",
    arguments: [0.4, 1.8])
  func inPart(amount: Double) throws {
    let found = try found(amount, noise: 0.01)
    #expect(found.verdict == .open && found.isDoubtful)
  }

  @Test("Beside much else it is neither made nor ruled out", arguments: [0.0, 1.0])
  func beside(amount: Double) throws {
    let found = try found(amount, noise: 1e-6, else: 0.3)
    #expect(found.verdict == .open && !found.isDoubtful)
  }

  /// One token a prompt, which the mistake moves by 1 or as is said, with noise of 0.01.
  private func plain(_ told: [Double], goldens: [Double]? = nil, mistakes: [Double]? = nil) -> MistakeFit? {
    let goldens = goldens ?? told.indices.map { -1 - Double($0) }
    let mistakes = mistakes ?? told.map { _ in 1 }
    let rows = zip(goldens, mistakes).map { [KnownToken(id: 5, logprob: $0 + $1)] }
    let prompts = told.indices.map { JSON.Member(key: "\($0)", value: ["row": .integer($0)]) }
    let suspect = try! KnownSuspect(["suspect": "V-gelu", "prompts": .object(prompts)], rows, "test")
    return MistakeFit(
      suspect,
      told.indices.map { n in
        Observation(
          prompt: "\(n)", count: nil, hash: nil, right: (1, ""),
          best: [.init(spelling: "", candidates: [5], logprob: goldens[n] + told[n])], floor: nil,
          golden: [KnownToken(id: 5, logprob: goldens[n])], noise: 0.01)
      })
  }

  @Test("The amount is the mean of equal prompts, and its error that of their noise")
  func figures() throws {
    let fit = try #require(plain((0..<20).map { $0 % 2 == 0 ? 0.95 : 1.05 }))
    #expect(abs(fit.amount - 1) < 1e-12)
    // √(20 ÷ 0.01) ÷ (20 ÷ 0.01).
    #expect(abs(fit.standardError - 0.1 / 20.0.squareRoot()) < 1e-12)
  }

  @Test("Prompts that differ by more than noise have an error that is theirs")
  func spread() throws {
    let fit = try #require(plain((0..<20).map { $0 % 2 == 0 ? 0 : 2 }))
    #expect(abs(fit.amount - 1) < 1e-12)
    // 1 is the distance of each from the mean, and there are 19 degrees of freedom.
    #expect(abs(fit.standardError - 1 / 19.0.squareRoot()) < 1e-12)
    #expect(fit.verdict == .open)
  }

  @Test("Fewer than fifteen log-probabilities are not fitted")
  func few() { #expect(plain([Double](repeating: 1, count: 14)) == nil) }

  @Test("A prompt that is another one again says nothing new")
  func again() {
    let ones = [Double](repeating: 1, count: 20)
    #expect(plain(ones, goldens: ones) == nil)
  }

  @Test("Where one prompt has all the weight nothing is fitted")
  func oneOfAll() {
    let moves = (0..<20).map { $0 == 0 ? 1 : 0.01 }
    #expect(plain(moves, mistakes: moves) == nil)
  }
}
