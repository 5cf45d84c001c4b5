import Foundation
import PixtralImage
import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

/// What holds of every Pixtral, tried on seeded:tiny and on small ones of odd shapes, in float64.
@Suite("Properties of the model")
struct ModelProperties {
  @Test("Tokens behind others leave the logits of those before them", arguments: Model.all)
  func appending(model: Model) throws {
    var draw = Draw(seed: 1)
    let prompt = draw.prompt(for: model, text: [3, 5], images: [PatchGrid(columns: 2, rows: 2)])
    let before = try model.pixtral(prompt)
    for more in [1, 7, model.manyTokens] {
      let longer = Prompt(tokens: prompt.tokens + draw.text(for: model, more), pixels: try prompt.pixels)
      let after = try model.pixtral(longer)
      #expect(worstRow(after.rows(0..<before.rows), before) <= 1e-12, "\(more) tokens more")
    }
  }

  @Test("Another token changes its own logits and all behind it", arguments: Model.all)
  func anotherToken(model: Model) throws {
    var draw = Draw(seed: 2)
    var tokens = draw.text(for: model, 12)
    let before = try model.pixtral(Prompt(tokens: tokens))
    tokens[5] = tokens[5] == 0 ? 1 : 0
    let after = try model.pixtral(Prompt(tokens: tokens))
    let changed = (0..<12).filter { worstRow(after.rows($0..<$0 + 1), before.rows($0..<$0 + 1)) > 1e-9 }
    #expect(changed == Array(5..<12))
  }

  @Test("Two images that change places take their features along", arguments: Model.all)
  func swapping(model: Model) throws {
    var draw = Draw(seed: 3)
    let (a, b) = (PatchGrid(columns: 3, rows: 2), PatchGrid(columns: 1, rows: 4))
    let prompt = draw.prompt(for: model, text: [2, 1, 2], images: [a, b])
    let swapped = draw.prompt(
      for: model, text: [1, 4, 1], images: [b, a], pixels: try prompt.pixels.reversed())
    let (found, expected) = (try features(of: swapped, model), try features(of: prompt, model))
    #expect(worstRow(found.rows(0..<4), expected.rows(6..<10)) <= 1e-12)
    #expect(worstRow(found.rows(4..<10), expected.rows(0..<6)) <= 1e-12)
  }

  @Test("An image has the features that it has alone", arguments: Model.all)
  func alone(model: Model) throws {
    var draw = Draw(seed: 4)
    let grids = [
      PatchGrid(columns: 1, rows: 1), PatchGrid(columns: 3, rows: 3), PatchGrid(columns: 2, rows: 1),
    ]
    let all = draw.prompt(for: model, text: [1, 0, 0, 1], images: grids)
    let one = draw.prompt(for: model, text: [0, 0], images: [grids[1]], pixels: [try all.pixels[1]])
    #expect(try worstRow(features(of: all, model).rows(1..<10), features(of: one, model)) <= 1e-12)
  }

  @Test("A prompt in parts has the logits of the whole, wherever it is cut", arguments: Model.all)
  func parts(model: Model) throws {
    var draw = Draw(seed: 5)
    let prompt = draw.prompt(
      for: model, text: [4, 2, model.manyTokens],
      images: [PatchGrid(columns: 2, rows: 3), PatchGrid(columns: 1, rows: 1)])
    let whole = try model.pixtral(prompt)
    let rows = try model.pixtral.embeddings(of: prompt)
    for _ in 0..<4 {
      let cuts = draw.cuts(of: rows.rows)
      #expect(try worstRow(logits(of: rows, cutAt: cuts, model.pixtral), whole) <= 1e-12, "cut at \(cuts)")
    }
  }

  /// Images are encoded once, for the embeddings: a model with another vision encoder and adapter
  /// makes the same of them.
  @Test("The parts of a prompt need no vision encoder")
  func partsWithoutImages() throws {
    let (model, blind) = (try Model.odd(otherVision: false), try Model.odd(otherVision: true))
    var draw = Draw(seed: 6)
    let prompt = draw.prompt(for: model, text: [4, 9], images: [PatchGrid(columns: 2, rows: 3)])
    let rows = try model.pixtral.embeddings(of: prompt)
    #expect(try blind.pixtral.embeddings(of: prompt).values != rows.values)
    let cuts = draw.cuts(of: rows.rows)
    let (found, expected) = (
      try logits(of: rows, cutAt: cuts, blind.pixtral), try logits(of: rows, cutAt: cuts, model.pixtral)
    )
    #expect(found.values == expected.values)
  }

  private func features(of prompt: Prompt, _ model: Model) throws -> Matrix<Double> {
    let recorder = FeatureRecorder()
    do { _ = try model.pixtral(prompt, trace: Trace(recorder)) } catch is TraceEnd {}
    return try #require(recorder.features)
  }

  private func logits(
    of rows: Matrix<Double>, cutAt cuts: [Int], _ pixtral: Pixtral<Double>
  ) throws -> Matrix<Double> {
    let cache = KeyValueCache<Double>(for: pixtral.checkpoint.parameters)
    var parts: [Double] = []
    for (start, end) in zip([0] + cuts, cuts + [rows.rows]) {
      parts += try pixtral.logits(rows.rows(start..<end), cache: cache).values
    }
    return Matrix(rows: rows.rows, columns: parts.count / rows.rows, values: parts)
  }
}

/// A model to try.
struct Model: CustomTestStringConvertible, Sendable {
  let pixtral: Pixtral<Double>
  /// More than a block of attention has queries, unless that would take long.
  let manyTokens: Int

  var parameters: Parameters { pixtral.checkpoint.parameters }
  var testDescription: String { pixtral.checkpoint.name }

  static let all: [Model] = {
    do {
      return [
        Model(pixtral: Pixtral(try Checkpoint("seeded:tiny")), manyTokens: 20), try odd(otherVision: false),
        try smallest(),
      ]
    } catch { fatalError("\(error)") }
  }()

  /// Nothing is a power of two, biases, heads · head_dim is not dim, other ids.
  static func odd(otherVision: Bool) throws -> Model {
    try drawn(
      "odd", otherVision: otherVision,
      """
      {"dim": 7, "n_layers": 2, "head_dim": 6, "hidden_dim": 11, "n_heads": 6, "n_kv_heads": 3, "norm_eps": 1e-3,
       "vocab_size": 41, "rope_theta": 500,
       "vision_encoder": {"hidden_size": 18, "num_channels": 3, "image_size": 15, "patch_size": 3,
         "intermediate_size": 5, "num_hidden_layers": 2, "num_attention_heads": 3, "rope_theta": 77, "image_token_id": 7,
         "image_break_token_id": 2, "image_end_token_id": 40, "adapter_bias": true}}
      """)
  }

  /// One layer, one head, patches of one pixel.
  static func smallest() throws -> Model {
    try drawn(
      "smallest", otherVision: false,
      """
      {"dim": 3, "n_layers": 1, "head_dim": 2, "hidden_dim": 1, "n_heads": 1, "n_kv_heads": 1, "norm_eps": 1e-5,
       "vocab_size": 17, "rope_theta": 1e4,
       "vision_encoder": {"hidden_size": 4, "num_channels": 3, "image_size": 8, "patch_size": 1, "intermediate_size": 1,
         "num_hidden_layers": 1, "num_attention_heads": 1, "rope_theta": 1e4, "image_token_id": 10, "adapter_bias": false}}
      """)
  }

  /// A checkpoint in a folder, its values drawn as those of a seeded one.
  ///
  /// - otherVision: whether the vision encoder and the adapter are drawn with another seed.
  private static func drawn(_ name: String, otherVision: Bool, _ json: String) throws -> Model {
    let parameters = try Parameters(JSON(parsing: json, place: name), place: name)
    // The files stay mapped, and need their names no more.
    let temporary = try TemporaryFolder()
    let folder = temporary.path
    try temporary.write("params.json", json)
    let writer = try SafetensorsWriter(
      "\(folder)/consolidated.safetensors",
      parameters.tensors.map { .init(name: $0.name, dtype: .f64, shape: $0.shape) })
    for tensor in parameters.tensors {
      let seed = otherVision && tensor.name.hasPrefix("vision_") ? 2 : 1
      let values = SeededValues(
        seed: seed, name: tensor.name, offset: tensor.seededOffset, scale: tensor.seededScale)
      let stored = StoredTensor(name: tensor.name, dtype: .bf16, shape: tensor.shape, source: .seeded(values))
      try (stored.vector() as [Double]).withUnsafeBytes { try writer.write($0) }
    }
    try writer.finish()
    return Model(pixtral: Pixtral(try Checkpoint(folder)), manyTokens: 300)
  }
}

/// Keeps what the adapter gives, and ends the run there.
private final class FeatureRecorder: TraceRecorder {
  private(set) var features: Matrix<Double>?

  func record<Scalar: BLASScalar>(_ name: String, _ value: Matrix<Scalar>) throws {
    guard name == ModelTap.adapterOut.rawValue else { return }
    features = value as? Matrix<Double>
    throw TraceEnd()
  }
}

/// The largest `‖a − e‖ / ‖e‖` of a row; NaN is larger than anything.
private func worstRow(_ a: Matrix<Double>, _ e: Matrix<Double>) -> Double {
  guard a.rows == e.rows, a.columns == e.columns else { return .nan }
  var worst = 0.0
  for row in 0..<e.rows {
    var (error, size) = (0.0, 0.0)
    for (a, e) in zip(a.row(row), e.row(row)) {
      error += (a - e) * (a - e)
      size += e * e
    }
    let ratio = (error / size).squareRoot()
    if !(ratio <= worst) && !worst.isNaN { worst = ratio }
  }
  return worst
}

extension Draw {
  /// Tokens that are no image's.
  fileprivate mutating func text(for model: Model, _ count: Int) -> [Int] {
    let vision = model.parameters.vision
    let ids = (0..<model.parameters.vocabularySize).filter {
      ![vision.imageToken, vision.imageBreakToken, vision.imageEndToken].contains($0)
    }
    return (0..<count).map { _ in ids.randomElement(using: &self)! }
  }

  /// So many tokens of text in front of each image and behind the last.
  fileprivate mutating func prompt(
    for model: Model, text: [Int], images: [PatchGrid], pixels: [Pixels]? = nil
  ) -> Prompt {
    let vision = model.parameters.vision
    var tokens = self.text(for: model, text[0])
    for (grid, count) in zip(images, text.dropFirst()) {
      let line = [Int](repeating: vision.imageToken, count: grid.columns) + [vision.imageBreakToken]
      tokens += (0..<grid.rows).flatMap { _ in line }.dropLast() + [vision.imageEndToken]
      tokens += self.text(for: model, count)
    }
    return Prompt(tokens: tokens, pixels: pixels ?? images.map { self.pixels($0, vision.patchSize) })
  }

  private mutating func pixels(_ grid: PatchGrid, _ side: Int) -> Pixels {
    let (height, width) = (grid.rows * side, grid.columns * side)
    return Pixels(
      height: height, width: width,
      values: (0..<3 * height * width).map { _ in Float.random(in: -2...2, using: &self) })
  }

  /// One to five places inside so many rows, in order.
  fileprivate mutating func cuts(of rows: Int) -> [Int] {
    Set((0..<Int.random(in: 1...5, using: &self)).map { _ in Int.random(in: 1..<rows, using: &self) })
      .sorted()
  }
}
