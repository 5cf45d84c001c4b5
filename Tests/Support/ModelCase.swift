import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText
import Testing

/// A model case: a folder with case.json, request.json and expected.safetensors.
package struct ModelCase {
  package let folder: String
  package let json: JSON
  package let expected: Safetensors

  package init(_ name: String, of model: String = "tiny") throws {
    folder = "\(fixtures)/cases/model/\(model)/\(name)"
    json = try JSON(file: "\(folder)/case.json")
    expected = try Safetensors("\(folder)/expected.safetensors")
  }

  package var expect: JSON { json["expect"] ?? .null }
  package var request: ChatRequest { get throws { try ChatRequest(file: "\(folder)/request.json") } }

  package func tensor(_ name: String) -> StoredTensor? {
    expected.tensors.first { $0.name == name }.flatMap { try? StoredTensor($0, of: expected.file) }
  }

  /// mistral-common's pixels, in the order of the prompt.
  package var pixels: [Pixels] {
    var images: [Pixels] = []
    while let tensor = tensor("image\(images.count)") {
      images.append(Pixels(height: tensor.shape[1], width: tensor.shape[2], values: tensor.vector()))
    }
    return images
  }

  /// mistral-common's tokens and pixels.
  package var prompt: Prompt { Prompt(tokens: expect["tokens"]?.integers ?? [], pixels: pixels) }

  /// The oracle's taps.
  package var taps: [StoredTensor] {
    expected.tensors.map(\.name).filter { !$0.hasPrefix("image") }.compactMap(tensor)
  }

  /// The rows of a tap that the case keeps.
  package func rows(_ tap: String, of matrix: Matrix<Double>) -> [Double] {
    guard let rows = expect["rows"]?[tap]?.integers else { return matrix.values }
    return rows.flatMap { Array(matrix.row($0)) }
  }

  /// The limit on a tap's relF that the case itself sets for a precision.
  package func limit(_ tap: String, _ precision: Precision) throws -> Double {
    if let relF = json["compare"]?[precision.rawValue]?["relF"]?.decimal { return relF }
    // Twice the largest distance of the schedules that were measured.
    let envelope = try JSON(file: "\(folder)/envelope.json", upTo: 1 << 23)
    let place = try #require(envelope["taps"]?.strings?.firstIndex(of: tap), "no noise of \(tap)")
    let schedules = try #require(envelope["arithmetics"]?[precision.rawValue]?["relF"]?.members)
    return 2 * (schedules.compactMap { $0.value.array?[place].decimal }.max() ?? 0)
  }

  /// How far transformers' float32 is from the oracle.
  package func witness(_ tap: String) -> Double? {
    json["witnesses"]?.array?.first { $0["name"]?.string == "transformers" }?["distance"]?[tap]?.decimal
  }
}
