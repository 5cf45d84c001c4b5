import Foundation
import Testing

@testable import PixtralReference

/// One case of Fixtures/cases.
struct Case: CustomTestStringConvertible {
  let json: JSON

  var id: String { json["id"]?.string ?? "" }
  var title: String { json["title"]?.string ?? "" }
  var inputs: JSON { json["inputs"] ?? .null }
  var expect: JSON { json["expect"] ?? .null }
  var testDescription: String { id }
}

/// The cases of a suite that is a JSON-Lines file below Fixtures/cases.
func cases(_ path: String) throws -> [Case] {
  let lines = try String(contentsOfFile: "\(fixtures)/cases/\(path)", encoding: .utf8).split(separator: "\n")
  precondition(!lines.isEmpty, "an empty suite tests nothing")
  return try lines.map { Case(json: try JSON(parsing: String($0), place: path)) }
}

extension Case {
  /// The float32 tensor that is expected, from the file beside the suite.
  func expectedValues(in folder: String) throws -> [Float] {
    let path = try #require(expect["file"]?.string)
    let file = try Safetensors("\(fixtures)/cases/\(folder)/\(path)")
    let name = try #require(expect["tensor"]?.string)
    let tensor = try #require(file.tensors.first { $0.name == name })
    return Weight(name: name, element: tensor.element, shape: tensor.shape, source: .mapped(file.file, tensor.range)).vector()
  }
}

extension JSON {
  /// What a key has in base64.
  func bytes(_ key: String) throws -> [UInt8] {
    let text = try #require(self[key]?.string)
    return Array(try #require(Data(base64Encoded: text)))
  }

  /// An image written as `width`, `height` and `rgb`.
  func rgbImage() throws -> RGBImage {
    let size = ImageSize(width: try #require(self["width"]?.integer), height: try #require(self["height"]?.integer))
    return RGBImage(size, samples: try bytes("rgb"))
  }
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
