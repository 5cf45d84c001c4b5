import PixtralStorage
import TestSupport
import Testing

@testable import PixtralReference

/// A file with tensors of these shapes; their values rise from 1 in steps of 1/8 and turn at 2.
private func tensors(_ shapes: [String: [Int]]) throws -> Safetensors {
  var file = TensorFile()
  for (name, shape) in shapes.sorted(by: { $0.key < $1.key }) {
    file.add(name, shape, (0..<shape.reduce(1, *)).map { 1 + Float($0 % 9) / 8 })
  }
  return try mapped(file)
}

/// A file that is open, and already gone from its folder.
private func mapped(_ file: TensorFile) throws -> Safetensors {
  let folder = try TemporaryFolder()
  return try withExtendedLifetime(folder) { try Safetensors(folder.write("step.safetensors", file.bytes)) }
}

/// Parameters by their keys, as JSON text.
private typealias Texts = [String: String]

private func output(_ step: Step, _ parameters: Texts, _ shapes: [String: [Int]]) throws -> Matrix<Double> {
  try step(json(parameters), tensors(shapes), in: Double.self)
}

private func json(_ texts: Texts) throws -> JSON {
  let members = texts.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }
  return try JSON(parsing: "{\(members.joined(separator: ", "))}", place: "parameters")
}

extension Texts {
  fileprivate func with(_ key: String, _ text: String) -> Texts { merging([key: text]) { $1 } }
}

/// A layer of width 4 with two heads of 2 columns and one key-value head.
private let layer: [String: [Int]] = [
  "attention_norm.weight": [4], "attention.wq.weight": [4, 4], "attention.wk.weight": [2, 4],
  "attention.wv.weight": [2, 4], "attention.wo.weight": [4, 4], "ffn_norm.weight": [4],
  "feed_forward.w1.weight": [6, 4], "feed_forward.w3.weight": [6, 4], "feed_forward.w2.weight": [4, 6],
]

private let decoder = ["heads": "2", "kv_heads": "1", "head_dim": "2", "eps": "1e-5", "theta": "100"]

@Suite("Steps")
struct StepTests {
  @Test("A step computes what its operation does")
  func operation() throws {
    let x = try output(.rmsNorm, ["eps": "3.5"], ["x": [1, 2], "norm.weight": [2]])
    // x is (1, 1.125), as the weight is; the mean square is 1.1328125.
    let root = (1.1328125 + 3.5).squareRoot()
    #expect(x.values == [1 * (1 / root) * 1, 1.125 * (1 / root) * 1.125])
  }

  @Test("The last rows of a layer follow from its earlier keys and values")
  func prefillIsTheLayersEnd() throws {
    let whole = try output(.decoderLayer, decoder, layer.merging(["x": [9, 4]]) { $1 })
    // Of the first three rows: their keys and values as the layer has them.
    var file = TensorFile()
    let inputs = try tensors(layer.merging(["x": [9, 4]]) { $1 })
    func stored(_ name: String) throws -> StoredTensor {
      try StoredTensor(try #require(inputs.tensors.first { $0.name == name }), of: inputs.file)
    }
    let x: Matrix<Double> = try stored("x").rows(0..<9)
    let normed = rmsNorm(x.rows(0..<3), try stored("attention_norm.weight"), epsilon: 1e-5)
    let k = Rotation(positions: 0..<3, theta: 100, headDim: 2)(
      linear(normed, try stored("attention.wk.weight")))
    let v = linear(normed, try stored("attention.wv.weight"))
    file.addDoubles("k_rotated", [3, 2], k.values)
    file.addDoubles("v", [3, 2], v.values)
    file.addDoubles("x", [6, 4], x.rows(3..<9).values)
    for name in layer.keys.sorted() {
      file.addDoubles(name, layer[name]!, try stored(name).vector())
    }
    let part: Matrix<Double> = try Step.prefill(
      json(decoder.with("position", "3")), mapped(file), in: Double.self)
    for (a, e) in zip(part.values, whole.rows(3..<9).values) { #expect(abs(a - e) <= 1e-14 * abs(e)) }
  }

  @Test(
    "A rotation without whole pairs, rows or heads is refused",
    arguments: [
      ("heads", "0"), ("heads", "-1"), ("heads", "3"), ("heads", "1e400"), ("head_dim", "3"),
      ("head_dim", #""4""#), ("head_dim", "1048577"), ("theta", "0"), ("theta", "null"),
      ("positions", "[]"), ("positions", "[1]"), ("positions", "[-1, 0]"), ("positions", "[0.5, 1]"),
      ("positions", "5"), ("positions", "[1, 1e300]"),
    ])
  func wrongRotation(key: String, text: String) throws {
    let right = ["heads": "2", "head_dim": "4", "theta": "100", "positions": "[0, 1]"]
    #expect(try output(.rotary, right, ["x": [2, 8]]).rows == 2)
    #expect(throws: InputError.self) { try output(.rotary, right.with(key, text), ["x": [2, 8]]) }
  }

  @Test(
    "Attention whose heads, segments or rows do not fit is refused",
    arguments: [
      ("kv_heads", "0"), ("kv_heads", "4"), ("segments", "[2]"), ("segments", "[2, 2]"),
      ("segments", "[4, -1]"), ("segments", "[3, 0]"),
      ("segments", "[4611686018427387904, 4611686018427387904]"), ("causal", "1"), ("causal", "null"),
    ])
  func wrongAttention(key: String, text: String) throws {
    let right = ["heads": "2", "kv_heads": "1", "head_dim": "3", "segments": "[3]", "causal": "true"]
    let shapes = ["q": [2, 6], "k": [3, 3], "v": [3, 3]]
    #expect(try output(.attention, right, shapes).rows == 2)
    #expect(throws: InputError.self) { try output(.attention, right.with(key, text), shapes) }
    for wrong in [["q": [4, 6]], ["q": [2, 5]], ["v": [2, 3]], ["k": [3, 4]], ["k": [0, 3]], ["k": [9]]] {
      #expect(throws: InputError.self) { try output(.attention, right, shapes.merging(wrong) { $1 }) }
    }
  }

  @Test("A grid is an object of two counts, and all grids have as many patches as rows")
  func wrongGrids() throws {
    let right = ["heads": "1", "head_dim": "4", "theta": "100", "grids": #"[{"columns": 2, "rows": 1}]"#]
    #expect(try output(.rotary2D, right, ["x": [2, 4]]).rows == 2)
    let wrong = [
      "[]", "[[2, 1]]", #"[{"columns": 2}]"#, #"[{"columns": 2, "rows": 0}]"#,
      #"[{"columns": 1048576, "rows": 1048576}]"#,
      #"[{"columns": 2, "rows": 1}, {"columns": 1, "rows": 1}]"#,
    ]
    for grids in wrong {
      #expect(throws: InputError.self) { try output(.rotary2D, right.with("grids", grids), ["x": [2, 4]]) }
    }
  }

  @Test("A layer that lacks a tensor, or has one of another shape, is refused with a tensor's name")
  func wrongLayer() throws {
    for name in layer.keys.sorted() {
      for shape in [nil, [3, 3], [0]] {
        var shapes = layer.merging(["x": [2, 4]]) { $1 }
        shapes[name] = shape
        let error = try refusal { try output(.decoderLayer, decoder, shapes) }
        #expect(error.place.contains("tensor "), "\(error)")
      }
    }
  }

  @Test("A part needs the keys and values of every row before it")
  func wrongPart() throws {
    let shapes = layer.merging(["x": [2, 4], "k_rotated": [3, 2], "v": [3, 2]]) { $1 }
    #expect(try output(.prefill, decoder.with("position", "3"), shapes).rows == 2)
    for position in ["0", "2", "4", "-3", "null"] {
      #expect(throws: InputError.self) { try output(.prefill, decoder.with("position", position), shapes) }
    }
  }

  @Test("Tokens beyond the table, and other image rows than [IMG] tokens, are refused")
  func wrongSplice() throws {
    func spliced(_ tokens: String, _ shapes: [String: [Int]]) throws -> Int {
      try output(.splice, ["tokens": tokens, "image_token_id": "1"], shapes).rows
    }
    let shapes = ["tok_embeddings.weight": [3, 2], "image_rows": [1, 2]]
    #expect(try spliced("[0, 1, 2]", shapes) == 3)
    for tokens in ["[3, 1]", "[-1, 1]", "[0]", "[1, 1]", "[]"] {
      #expect(throws: InputError.self) { try spliced(tokens, shapes) }
    }
    #expect(throws: InputError.self) { try spliced("[1]", ["tok_embeddings.weight": [3, 2]]) }
    #expect(throws: InputError.self) { try spliced("[1]", shapes.merging(["image_rows": [1, 3]]) { $1 }) }
  }

  @Test("Images are whole patches of the kernel's size, one at least")
  func wrongPatches() throws {
    let kernel = ["patch_conv.weight": [5, 3, 2, 2]]
    func convolved(_ shapes: [String: [Int]], _ side: String = "2") throws -> [Int] {
      let y = try output(.patchConv, ["patch_size": side], shapes.merging(kernel) { $1 })
      return [y.rows, y.columns]
    }
    #expect(try convolved(["image0": [3, 4, 2], "image1": [3, 2, 2]]) == [3, 5])
    let wrong = [
      [:], ["image1": [3, 2, 2]], ["image0": [3, 3, 2]], ["image0": [1, 2, 2]], ["image0": [3, 2]],
    ]
    for shapes in wrong { #expect(throws: InputError.self) { try convolved(shapes) } }
    #expect(throws: InputError.self) { try convolved(["image0": [3, 4, 4]], "4") }
  }

  @Test("The adapter has its biases where the parameters say so")
  func adapterBias() throws {
    let shapes = ["x": [1, 2], "w_in.weight": [3, 2], "w_out.weight": [2, 3]]
    #expect(try output(.adapter, ["bias": "false"], shapes).columns == 2)
    #expect(throws: InputError.self) { try output(.adapter, ["bias": "true"], shapes) }
    #expect(throws: InputError.self) { try output(.adapter, [:], shapes) }
    let biases = shapes.merging(["w_in.bias": [3], "w_out.bias": [2]]) { $1 }
    let (with, without) = (["bias": "true"], ["bias": "false"])
    #expect(try output(.adapter, with, biases).values != output(.adapter, without, biases).values)
  }
}

@Suite("Outputs of steps, compared")
struct OutputComparisonTests {
  private let golden: [Float] = [1, 2, 3, 4]

  private func verdict(
    _ values: [Float], _ shape: [Int] = [2, 2], noise: [Arithmetic: Double] = [.float32: 1e-3],
    as arithmetic: Arithmetic = .float32
  ) throws -> Comparison.Verdict? {
    func stored(_ shape: [Int], _ values: [Float]) throws -> StoredTensor {
      var file = TensorFile()
      file.add("output", shape, values)
      let tensors = try mapped(file)
      return try StoredTensor(tensors.tensors[0], of: tensors.file)
    }
    return OutputComparison(
      try stored(shape, values), expected: try stored([2, 2], golden), noise: noise, arithmetic: arithmetic
    )?.verdict
  }

  @Test(
    "An output is close up to twice the noise and far beyond eight times",
    arguments: [
      (1.0019, "close"), (1.0021, "undecided"), (1.0079, "undecided"), (1.0081, "far"),
    ] as [(Float, String)])
  func limits(factor: Float, expected: String) throws {
    let found: String =
      switch try verdict(golden.map { $0 * factor }) {
      case .close: "close"
      case .undecided: "undecided"
      case .far: "far"
      default: "otherwise"
      }
    #expect(found == expected)
  }

  @Test("An output of another shape or with a NaN is named so; a batch of one is no other shape")
  func otherOutputs() throws {
    #expect(try verdict(golden, [4, 1]) == .otherShape(expected: [2, 2], found: [4, 1]))
    #expect(try verdict([1, 2, .nan, 4]) == .nonFinite(row: 1, column: 0))
    #expect(try verdict(golden, [1, 2, 2]) == .close(Distance()))
  }

  @Test("Where right runs were not measured there is no verdict")
  func noNoise() throws {
    #expect(try verdict(golden, as: .bfloat16) == nil)
  }

  @Test("What is stored in fewer bits than computed is judged by these")
  func narrow() throws {
    let noise: [Arithmetic: Double] = [.float64: 1e-16, .float32: 1e-3]
    #expect(
      try verdict(golden.map { $0 * 1.001 }, noise: noise, as: .float64).map { "\($0)".hasPrefix("close") }
        == true)
  }
}
