import Foundation
import PixtralImage
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference

@Suite("params.json")
struct ParametersTests {
  private func parse(_ text: String) throws -> Parameters {
    try Parameters(JSON(parsing: text, place: "params.json"), place: "params.json")
  }

  private func unknownKeys(_ text: String) throws -> [String] {
    try ParametersFile(mistral: JSON(parsing: text, place: "params.json"), place: "params.json").unknownKeys
  }

  private func replacing(_ old: String, _ new: String) throws -> String {
    try #require(smallParameters.contains(old))
    return smallParameters.replacingOccurrences(of: old, with: new)
  }

  @Test("Every key is read to its place")
  func keys() throws {
    let parameters = try parse(smallParameters)
    #expect(parameters.keyValueHeads == 1)
    #expect(parameters.normEpsilon == 1e-5)
    #expect(parameters.vision.headDim == 2)
    #expect(parameters.vision.adapterBias == false)
    #expect(try unknownKeys(smallParameters).isEmpty)
  }

  @Test(
    "A missing key is named",
    arguments: [
      "dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads", "norm_eps", "vocab_size",
      "rope_theta",
    ])
  func missingKey(key: String) throws {
    let text = try replacing("\"\(key)\": ", "\"x_\(key)\": ")
      .replacingOccurrences(of: "\"rope_theta\": 1e4", with: "\"rope_theta\": 1e4")
    let error = try refusal { try parse(text) }
    #expect(error.place.hasSuffix(key))
    #expect(error.found == "no such key")
  }

  @Test(
    "A missing key of the vision encoder is named",
    arguments: [
      "hidden_size", "num_channels", "image_size", "patch_size", "intermediate_size", "num_hidden_layers",
      "num_attention_heads", "image_token_id",
    ])
  func missingVisionKey(key: String) throws {
    let error = try refusal { try parse(try replacing("\"\(key)\": ", "\"x_\(key)\": ")) }
    #expect(error.place == "params.json, vision_encoder, \(key)")
  }

  @Test(
    "A wrong type or an impossible number is refused, never converted",
    arguments: ["\"4\"", "4.5", "null", "true", "[4]", "0", "-4", "1e300", "1048577", "9223372036854775807"])
  func wrongType(value: String) throws {
    let error = try refusal { try parse(try replacing("\"dim\": 4", "\"dim\": \(value)")) }
    #expect(error.place == "params.json, dim")
  }

  @Test(
    "Numbers that contradict one another are refused",
    arguments: [
      ("\"n_heads\": 2", "\"n_heads\": 3, \"n_kv_heads\": 2", "n_heads"),
      ("\"head_dim\": 2", "\"head_dim\": 3", "head_dim"),
      ("\"head_dim\": 2", "\"head_dim\": 1048576", "n_heads × head_dim"),
      ("\"num_attention_heads\": 2", "\"num_attention_heads\": 3", "hidden_size"),
      ("\"num_attention_heads\": 2", "\"num_attention_heads\": 4", "hidden_size / num_attention_heads"),
      ("\"num_channels\": 3", "\"num_channels\": 4", "num_channels"),
      ("\"image_size\": 8", "\"image_size\": 9", "image_size"),
      ("\"image_token_id\": 10", "\"image_token_id\": 20", "image_token_id"),
    ])
  func contradictions(old: String, new: String, key: String) throws {
    let text = try replacing(old, new).replacingOccurrences(
      of: "\"n_kv_heads\": 2, \"n_kv_heads\": 1", with: "\"n_kv_heads\": 2")
    #expect(try refusal { try parse(text) }.place.hasSuffix(key))
  }

  @Test("More layers than any model has are refused before a table is made of them")
  func layers() throws {
    #expect(
      try refusal { try parse(try replacing("\"n_layers\": 1", "\"n_layers\": 1000000000")) }.place.hasSuffix(
        "n_layers"))
  }

  @Test("A key that changes nothing must still be a number", arguments: ["\"12\"", "-1", "[]"])
  func ignored(value: String) throws {
    #expect(throws: InputError.self) {
      try parse(try replacing("\"dim\": 4", "\"dim\": 4, \"max_seq_len\": \(value)"))
    }
  }

  @Test("An unknown key is kept for a warning")
  func unknownKey() throws {
    #expect(try unknownKeys(try replacing("\"dim\": 4", "\"dim\": 4, \"colour\": 1")) == ["colour"])
    let image = try replacing("\"hidden_size\"", "\"colour\": 1, \"hidden_size\"")
    #expect(try unknownKeys(image) == ["vision_encoder, colour"])
  }

  @Test("A key with a NUL is another key")
  func nulInKey() throws {
    #expect(try unknownKeys(try replacing("\"dim\": 4", #""dim": 4, "dim\u0000x": 80"#)) == ["dim\0x"])
    let error = try refusal { try parse(try replacing("\"dim\": 4", #""dim\u0000x": 4"#)) }
    #expect("\(error)" == "params.json, dim: expected a whole number, found no such key")
  }

  @Test(
    "The ids of breaks and ends are those of the format where they are null or not there",
    arguments: [", \"image_break_token_id\": null, \"image_end_token_id\": null", ""])
  func absentIds(members: String) throws {
    let vision = try parse(try replacing("\"image_token_id\": 10", "\"image_token_id\": 10\(members)")).vision
    #expect(vision.imageBreakToken == 14)
    #expect(vision.imageEndToken == 15)
  }

  @Test("What is written reads back as the same")
  func roundTrip() throws {
    let parameters = try parse(smallParameters)
    #expect(try Parameters(parameters.json, place: "") == parameters)
  }
}
