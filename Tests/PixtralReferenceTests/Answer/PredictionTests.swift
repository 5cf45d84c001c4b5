import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

@Suite("What the model says of the next token")
struct PredictionTests {
  @Test("A log-probability is the logit less the logarithm of the sum of exponentials")
  func logProbability() throws {
    // e^0 + e^ln 2 + e^ln 5 = 8.
    let prediction = try Prediction([0, 0.6931471805599453, 1.6094379124341003], position: 0)
    #expect(abs(prediction.logProbability(of: 0) - -2.0794415416798357) < 1e-15)
    #expect(abs(prediction.logProbability(of: 2) - -0.4700036292457356) < 1e-15)
  }

  @Test("Logits beyond the exponential's range have log-probabilities too")
  func largeLogits() throws {
    let prediction = try Prediction([1000, 999, -1000], position: 0)
    #expect(abs(prediction.logProbability(of: 0) - -0.31326168751822286) < 1e-12)
    #expect(abs(prediction.logProbability(of: 2) - -2000.3132616875182) < 1e-9)
  }

  @Test("Of equal logits the lowest id comes first")
  func ties() throws {
    let prediction = try Prediction([1, 3, 2, 3], position: 0)
    #expect(Array(prediction.best(1)) == [1])
    #expect(Array(prediction.best(4)) == [1, 3, 2, 0])
  }

  @Test("More of the best than there are tokens are all of them")
  func bestOfAll() throws {
    #expect(try Prediction([1, 3], position: 0).best(9).count == 2)
  }

  @Test("The most likely tokens are the first of all in their order, whatever is equal")
  func bestOfMany() throws {
    var draw = Draw(seed: 4)
    let prediction = try Prediction(
      (0..<500).map { _ in Float(Int.random(in: 0..<40, using: &draw)) }, position: 0)
    for count in [0, 1, 7, 100, 500] {
      #expect(prediction.best(count) == Array(prediction.order.prefix(count)))
    }
    for (place, id) in prediction.order.enumerated() { #expect(prediction.rank(of: id) == place + 1) }
  }

  @Test("A logit that is no number is refused with its place", arguments: [Float.nan, -.infinity])
  func notFinite(logit: Float) throws {
    let error = try #require(throws: InputError.self) { try Prediction([0, 1, logit], position: 7) }
    #expect(error.kind == .wrongTensors)
    #expect(error.description.contains("logits for position 7") && error.description.contains("token 2"))
  }
}
