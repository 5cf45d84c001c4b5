import Foundation
import Testing

@testable import PixtralReference

/// One case of Fixtures/cases.
struct Case: CustomTestStringConvertible {
  let json: JSON

  var id: String { json["id"]?.string ?? "" }
  var title: String { json["title"]?.string ?? "" }
  var testDescription: String { id }
}

/// The cases of a suite that is a JSON-Lines file below Fixtures/cases.
func cases(_ path: String) throws -> [Case] {
  let lines = try String(contentsOfFile: "\(fixtures)/cases/\(path)", encoding: .utf8).split(separator: "\n")
  precondition(!lines.isEmpty, "an empty suite tests nothing")
  return try lines.map { Case(json: try JSON(parsing: String($0), place: path)) }
}

/// A model case: a folder with case.json, request.json and expected.safetensors.
struct ModelCase {
  let folder: String
  let json: JSON
  let expected: Safetensors

  init(_ name: String) throws {
    folder = "\(fixtures)/cases/model/tiny/\(name)"
    json = try JSON(file: "\(folder)/case.json")
    expected = try Safetensors("\(folder)/expected.safetensors")
  }

  var expect: JSON { json["expect"] ?? .null }
  var request: ChatRequest { get throws { try ChatRequest(file: "\(folder)/request.json") } }

  func tensor(_ name: String) -> Weight? {
    expected.tensors.first { $0.name == name }.map {
      Weight(name: name, element: $0.element, shape: $0.shape, source: .mapped(expected.file, $0.range))
    }
  }

  /// mistral-common's pixels, in the order of the prompt.
  var pixels: [Pixels] {
    var images: [Pixels] = []
    while let tensor = tensor("image\(images.count)") {
      images.append(Pixels(height: tensor.shape[1], width: tensor.shape[2], values: tensor.vector()))
    }
    return images
  }

  /// mistral-common's tokens and pixels.
  var prompt: Prompt { Prompt(tokens: expect["tokens"]?.integers ?? [], images: pixels) }

  /// The oracle's taps.
  var taps: [Weight] { expected.tensors.map(\.name).filter { !$0.hasPrefix("image") }.compactMap(tensor) }

  /// The rows of a tap that the case keeps.
  func rows(_ tap: String, of matrix: Matrix<Double>) -> [Double] {
    guard let rows = expect["rows"]?[tap]?.integers else { return matrix.values }
    return rows.flatMap { Array(matrix.row($0)) }
  }

  /// How far transformers' float32 is from the oracle.
  func witness(_ tap: String) -> Double? {
    json["witnesses"]?.array?.first { $0["name"]?.string == "transformers" }?["distance"]?[tap]?.double
  }
}
