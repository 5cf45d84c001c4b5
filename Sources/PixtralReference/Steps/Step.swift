import PixtralImage
import PixtralStorage

/// One operation or stage of the model on inputs of its own, through the functions that a whole run
/// takes. Conformance.md has the stages, their parameters and tensors.
package enum Step: String, Sendable, CaseIterable {
  case rmsNorm = "rms_norm"
  case rotary
  case rotary2D = "rotary_2d"
  case attention
  case siluProduct = "silu_product"
  case gelu
  case patchConv = "patch_conv"
  case visionLayer = "vision_layer"
  case adapter
  case splice
  case decoderLayer = "decoder_layer"
  case head
  case prefill

  /// The output of the step.
  ///
  /// - parameters: an object with every hyper-parameter.
  /// - tensors: the inputs and weights, by their names.
  /// - Throws: `InputError` for what makes no such step.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func callAsFunction<Scalar: BLASScalar>(
    _ parameters: JSON, _ tensors: Safetensors, in _: Scalar.Type
  ) throws -> Matrix<Scalar> {
    var inputs = try StepInputs(parameters, tensors)
    let output: Matrix<Scalar> =
      switch self {
      case .rmsNorm: try inputs.norm()
      case .rotary: try inputs.rotary()
      case .rotary2D: try inputs.rotary2D()
      case .attention: try inputs.attention()
      case .siluProduct: try inputs.siluProduct()
      case .gelu: PixtralReference.gelu(try inputs.matrix("x"))
      case .patchConv: try inputs.patchConv()
      case .visionLayer: try inputs.visionLayer()
      case .adapter: try inputs.adapter()
      case .splice: try inputs.splice()
      case .decoderLayer: try inputs.decoderLayer(behind: 0)
      case .head: try inputs.head()
      case .prefill: try inputs.decoderLayer(behind: inputs.count("position"))
      }
    try inputs.checkWhole()
    return output
  }
}

// MARK: - Operations

extension StepInputs {
  fileprivate mutating func norm<Scalar: BLASScalar>() throws -> Matrix<Scalar> {
    let x: Matrix<Scalar> = try matrix("x")
    return rmsNorm(x, try tensor("norm.weight", [x.columns]), epsilon: try positive("eps"))
  }

  fileprivate mutating func rotary<Scalar: BLASScalar>() throws -> Matrix<Scalar> {
    let (heads, theta) = (try heads(shared: false), try positive("theta"))
    let x: Matrix<Scalar> = try matrix("x", columns: heads.query * heads.dim)
    let positions = try integers("positions", from: 0, upTo: 1 << 40)
    guard positions.count == x.rows else {
      throw wrong("positions", "\(x.rows) positions, as x has rows", "\(positions.count)")
    }
    return Rotation(positions: positions, theta: theta, headDim: heads.dim)(x)
  }

  fileprivate mutating func rotary2D<Scalar: BLASScalar>() throws -> Matrix<Scalar> {
    let (heads, theta) = (try heads(shared: false), try positive("theta"))
    let x: Matrix<Scalar> = try matrix("x", columns: heads.query * heads.dim)
    return Rotation(grids: try grids(patches: x.rows), theta: theta, headDim: heads.dim)(x)
  }

  fileprivate mutating func attention<Scalar: BLASScalar>() throws -> Matrix<Scalar> {
    let (heads, causal) = (try heads(shared: true, rotated: false), try flag("causal"))
    let q: Matrix<Scalar> = try matrix("q", columns: heads.query * heads.dim)
    let k: Matrix<Scalar> = try matrix("k", columns: heads.keyValue * heads.dim)
    let v: Matrix<Scalar> = try matrix("v", rows: k.rows, columns: k.columns)
    guard q.rows <= k.rows else { throw wrong("q", "at most the \(k.rows) rows of k", "\(q.rows)") }
    let lengths = try integers("segments", from: 1, upTo: ParameterSection.largest)
    guard lengths.reduce(0, +) == k.rows else {
      throw wrong("segments", "\(k.rows) rows, as k has", "\(lengths.reduce(0, +))")
    }
    return PixtralReference.attention(
      q, k, v, heads: heads, segments: PixtralReference.segments(of: lengths), causal: causal)
  }

  fileprivate mutating func siluProduct<Scalar: BLASScalar>() throws -> Matrix<Scalar> {
    let gate: Matrix<Scalar> = try matrix("gate")
    return PixtralReference.siluProduct(
      gate: gate, up: try matrix("up", rows: gate.rows, columns: gate.columns))
  }
}

// MARK: - Stages

extension StepInputs {
  fileprivate mutating func patchConv<Scalar: BLASScalar>() throws -> Matrix<Scalar> {
    let p = try count("patch_size")
    let kernel = try tensor("patch_conv.weight", [nil, Pixels.channels, p, p])
    var images: [Pixels] = []
    while images.isEmpty || has("image\(images.count)") {
      let image = try tensor("image\(images.count)", [Pixels.channels, nil, nil])
      guard image.shape[1].isMultiple(of: p), image.shape[2].isMultiple(of: p) else {
        throw wrong("patch_size", "a divisor of both sides of image\(images.count)", "\(p)")
      }
      images.append(Pixels(height: image.shape[1], width: image.shape[2], values: image.vector()))
    }
    let grids = images.map { $0.grid(patchSize: p) }
    try check(grids.reduce(0) { $0 + $1.patches }, kernel.rows)
    return linear(flattenedPatches(of: grids, patchSize: p) { images[$0] }, kernel)
  }

  fileprivate mutating func visionLayer<Scalar: BLASScalar>() throws -> Matrix<Scalar> {
    let heads = try heads(shared: false)
    let x: Matrix<Scalar> = try matrix("x")
    let layer = TransformerLayer<Scalar>(
      tensor: try layer(width: x.columns, heads, rows: x.rows), heads: heads,
      normEpsilon: try positive("eps"))
    let view = View<Scalar>(
      grids: try grids(patches: x.rows), theta: try positive("theta"), headDim: heads.dim)
    return try layer(x, view: view, trace: Trace().layer("vision.layers.0"))
  }

  fileprivate mutating func adapter<Scalar: BLASScalar>() throws -> Matrix<Scalar> {
    let hasBias = try flag("bias")
    let x: Matrix<Scalar> = try matrix("x")
    let inner = try tensor("w_in.weight", [nil, x.columns])
    var tensors = ["w_in.weight": inner, "w_out.weight": try tensor("w_out.weight", [nil, inner.rows])]
    for (name, weight) in [("w_in", inner), ("w_out", tensors["w_out.weight"]!)] {
      try check(x.rows, weight.rows)
      if hasBias { tensors["\(name).bias"] = try tensor("\(name).bias", [weight.rows]) }
    }
    return try Adapter<Scalar>(tensor: { tensors[$0]! }, hasBias: hasBias)(x, trace: Trace())
  }

  fileprivate mutating func splice<Scalar: BLASScalar>() throws -> Matrix<Scalar> {
    let table = try tensor("tok_embeddings.weight", [nil, nil])
    let tokens = try integers("tokens", from: 0, upTo: table.rows - 1)
    let imageToken = try integer("image_token_id")
    let imageRows: Matrix<Scalar>? =
      has("image_rows") ? try matrix("image_rows", columns: table.columns) : nil
    let marks = tokens.count { $0 == imageToken }
    guard marks == imageRows?.rows ?? 0 else {
      throw wrong("tokens", "\(imageRows?.rows ?? 0) of \(imageToken), as image_rows has rows", "\(marks)")
    }
    try check(tokens.count, table.columns)
    return splicedEmbeddings(tokens, imageRows: imageRows, table: table, imageToken: imageToken)
  }

  /// - behind: how many tokens came before, whose rotated keys and values are given.
  fileprivate mutating func decoderLayer<Scalar: BLASScalar>(behind seen: Int) throws -> Matrix<Scalar> {
    let heads = try heads(shared: true)
    let x: Matrix<Scalar> = try matrix("x")
    let layer = TransformerLayer<Scalar>(
      tensor: try layer(width: x.columns, heads, rows: x.rows), heads: heads,
      normEpsilon: try positive("eps"))
    let view = View<Scalar>(
      prompts: [x.rows], behind: seen, theta: try positive("theta"), headDim: heads.dim)
    var cache: KeyValueCache<Scalar>.Layer?
    if seen > 0 {
      let columns = heads.keyValue * heads.dim
      cache = KeyValueCache<Scalar>.Layer()
      _ = cache?.append(
        try matrix("k_rotated", rows: seen, columns: columns),
        try matrix("v", rows: seen, columns: columns))
    }
    return try layer(x, view: view, cache: cache, trace: Trace().layer("decoder.layers.0"))
  }

  /// The end of `Decoder`.
  fileprivate mutating func head<Scalar: BLASScalar>() throws -> Matrix<Scalar> {
    let x: Matrix<Scalar> = try norm()
    let output = try tensor("output.weight", [nil, x.columns])
    try check(x.rows, output.rows)
    return linear(x, output)
  }
}
