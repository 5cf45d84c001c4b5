import Foundation
import PixtralImage
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

@Suite("Extreme hyper-parameters")
struct ExtremeParametersTests {
  private static let counts = [
    "1", "2", "3", "4", "128", "4096", "10000", "65536", "524288", "1048575", "1048576", "1048577",
    "2147483647",
    "2147483648", "4294967296", "4611686018427387904", "9223372036854775807", "0", "-1", "1e9",
  ]
  private static let numbers = ["5e-324", "1e-308", "1e-5", "1", "1e6", "1.7976931348623157e308", "0", "-1"]

  /// The small model with some of its numbers replaced.
  private func drawn(_ generator: inout Draw) -> String {
    var text = smallParameters
    for _ in 0...Int.random(in: 0..<4, using: &generator) {
      let keys = [
        "dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads", "vocab_size", "hidden_size",
        "image_size", "patch_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "image_token_id", "norm_eps", "rope_theta",
      ]
      let key = keys.randomElement(using: &generator)!
      let values = key == "norm_eps" || key == "rope_theta" ? Self.numbers : Self.counts
      let value = values.randomElement(using: &generator)!
      text = text.replacingOccurrences(
        of: "\"\(key)\": [0-9.e+-]+", with: "\"\(key)\": \(value)", options: .regularExpression)
    }
    return text
  }

  @Test("Whatever the numbers, they are refused, or every size that follows from them can be computed")
  func random() throws {
    var generator = Draw(seed: 5)
    var accepted = 0
    for _ in 0..<3000 {
      let text = drawn(&generator)
      guard let parameters = try? Parameters(JSON(parsing: text, place: ""), place: "") else { continue }
      accepted += 1
      #expect(try Parameters(parameters.json, place: "") == parameters)
      guard parameters.layers <= 4, parameters.vision.layers <= 4 else { continue }
      let values = parameters.tensors.map { $0.shape.reduce(1, *) }.reduce(0, +)
      #expect(values > 0 && values * 8 > 0)
      let grid = parameters.imageRule.grid(ImageSize(width: 50_000, height: 3))
      let images = [ImageShape(sent: nil, grid: grid)]
      _ = parameters.taps(images: images, tokens: 1 << 20, logitRows: 1 << 20).map { $0.rows * $0.columns }
    }
    #expect(accepted > 300)
  }

  @Test("The largest model that is accepted has fewer values than 63 bits count")
  func largest() throws {
    let largest = "1048576"
    var text = smallParameters
    for key in [
      "dim", "hidden_dim", "n_heads", "vocab_size", "hidden_size", "intermediate_size", "image_size",
    ] {
      text = text.replacingOccurrences(
        of: "\"\(key)\": [0-9]+", with: "\"\(key)\": \(largest)", options: .regularExpression)
    }
    text = text.replacingOccurrences(of: "\"n_heads\": \(largest)", with: "\"n_heads\": 524288")
      .replacingOccurrences(of: "\"n_layers\": 1", with: "\"n_layers\": 10000")
      .replacingOccurrences(of: "\"num_hidden_layers\": 1", with: "\"num_hidden_layers\": 10000")
      .replacingOccurrences(of: "\"patch_size\": 2", with: "\"patch_size\": 4096")
    let parameters = try Parameters(JSON(parsing: text, place: ""), place: "")
    let values = parameters.tensors.map { $0.shape.reduce(1, *) }.reduce(0, +)
    #expect(values > 1 << 55 && values < Int.max / 8)
  }
}
