import PixtralStorage

/// The taps of a transformer layer, by their names in a trace. Model.md 8.
enum LayerTap: String, Sendable, CaseIterable {
  case attentionNorm = "attention_norm"
  case q = "attention.q"
  case k = "attention.k"
  case v = "attention.v"
  case qRotated = "attention.q_rotated"
  case kRotated = "attention.k_rotated"
  case scores = "attention.scores"
  case weights = "attention.weights"
  case context = "attention.context"
  case attentionOutput = "attention.output"
  case residual = "residual"
  case ffnNorm = "ffn_norm"
  case gate = "feed_forward.gate"
  case up = "feed_forward.up"
  case hidden = "feed_forward.hidden"
  case feedForwardOutput = "feed_forward.output"
  case output = "output"

  /// Large, and recorded only when asked for.
  var onDemand: Bool { self == .scores || self == .weights }
}

/// The name of a tap of a layer, `vision.layers.3.attention.q`, taken apart.
struct LayerTapName {
  let part: String
  let layer: Int
  let tap: LayerTap

  init?(_ name: String) {
    let parts = name.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count == 4, parts[0] == "vision" || parts[0] == "decoder", parts[1] == "layers",
      let layer = Int(parts[2]), "\(layer)" == parts[2], layer >= 0,
      let tap = LayerTap(rawValue: String(parts[3]))
    else { return nil }
    (part, self.layer, self.tap) = (String(parts[0]), layer, tap)
  }
}

/// The taps outside of layers.
enum ModelTap: String, Sendable {
  case patchConv = "vision.patch_conv"
  case lnPre = "vision.ln_pre"
  case adapterIn = "adapter.w_in"
  case adapterGelu = "adapter.gelu"
  case adapterOut = "adapter.w_out"
  case embeddings = "decoder.embeddings"
  case decoderNorm = "decoder.norm"
  case logits = "logits"
}

/// A tap of one run.
public struct PlannedTap: Sendable, Equatable {
  /// Its name in a trace. Model.md 8.
  public let name: String
  /// Rows of its matrix: patches, tokens, or rows of pixels.
  public let rows: Int
  /// Columns of its matrix.
  public let columns: Int
  /// Whether it is large, and recorded only when asked for.
  public let onDemand: Bool
}

extension Parameters {
  /// Every tap of a run, in the order of computation: the closed list. Model.md 8.
  ///
  /// - images: each image's size in pixels and its grid; empty for a request without.
  /// - tokens: length of the prompt.
  /// - logitRows: how many of the last positions get logits.
  func taps(images: [ImageShape], tokens: Int, logitRows: Int) -> [PlannedTap] {
    let patches = images.reduce(0) { $0 + $1.grid.patches }
    var list: [PlannedTap] = []
    func add(_ name: String, _ rows: Int, _ columns: Int, onDemand: Bool = false) {
      list.append(PlannedTap(name: name, rows: rows, columns: columns, onDemand: onDemand))
    }
    func addLayer(_ prefix: String, rows: Int, width: Int, heads: Heads, hidden: Int) {
      for tap in LayerTap.allCases {
        let columns =
          switch tap {
          case .attentionNorm, .attentionOutput, .residual, .ffnNorm, .feedForwardOutput, .output: width
          case .q, .qRotated, .context: heads.query * heads.dim
          case .k, .v, .kRotated: heads.keyValue * heads.dim
          case .scores, .weights: heads.query * rows
          case .gate, .up, .hidden: hidden
          }
        add("\(prefix).\(tap.rawValue)", rows, columns, onDemand: tap.onDemand)
      }
    }

    for (n, image) in images.enumerated() {
      if let sent = image.sent {
        add("image.\(n).rgb", sent.height, sent.width * 3, onDemand: true)
        add(
          "image.\(n).resized", image.grid.rows * vision.patchSize, image.grid.columns * vision.patchSize * 3,
          onDemand: true)
      }
    }
    if patches > 0 {
      add(ModelTap.patchConv.rawValue, patches, vision.hiddenSize)
      add(ModelTap.lnPre.rawValue, patches, vision.hiddenSize)
      for n in 0..<vision.layers {
        addLayer(
          "vision.layers.\(n)", rows: patches, width: vision.hiddenSize, heads: visionHeads,
          hidden: vision.intermediateSize)
      }
      for tap in [ModelTap.adapterIn, .adapterGelu, .adapterOut] { add(tap.rawValue, patches, dim) }
    }
    add(ModelTap.embeddings.rawValue, tokens, dim)
    for n in 0..<layers {
      addLayer("decoder.layers.\(n)", rows: tokens, width: dim, heads: decoderHeads, hidden: hiddenDim)
    }
    add(ModelTap.decoderNorm.rawValue, tokens, dim)
    add(ModelTap.logits.rawValue, logitRows, vocabularySize)
    return list
  }

  var visionHeads: Heads { Heads(query: vision.heads, keyValue: vision.heads, dim: vision.headDim) }
  var decoderHeads: Heads { Heads(query: heads, keyValue: keyValueHeads, dim: headDim) }
}

/// Which taps of a run are recorded.
package struct TapChoice: Sendable {
  /// The taps to record, in order.
  package let recorded: [PlannedTap]
  /// The taps to compute, in order: those up to the last, and of those on demand the recorded ones.
  let computed: [PlannedTap]
  /// After this one nothing more is computed.
  package let last: String

  /// - globs: patterns as for `choose`; empty for every tap that is not on demand.
  /// - until: the last tap to compute; nil for the end.
  /// - Throws: `InputError` of kind `wrongTap` if a pattern matches nothing or `until` is no tap of
  ///   the run.
  package init(from all: [PlannedTap], globs: [String] = [], until: String? = nil) throws {
    last = until ?? all[all.count - 1].name
    guard let end = all.firstIndex(where: { [last] in $0.name == last }) else {
      throw InputError(
        .wrongTap, "--until \(last)", expected: "a tap of this run, such as \(all[all.count - 1].name)",
        found: "none of that name",
        advice: nearest(last, of: all.map(\.name)).map { "did you mean \($0)?" }
          ?? "Docs/Model.md, section 8, lists them")
    }
    let onDemand = Set(all.filter(\.onDemand).map(\.name))
    let names = try choose(globs, among: all.map(\.name), onDemand: onDemand, of: "this run")
    recorded = all[...end].filter { names.contains($0.name) }
    let kept = Set(recorded.map(\.name))
    computed = all[...end].filter { [last] in !$0.onDemand || $0.name == last || kept.contains($0.name) }
    guard !recorded.isEmpty else {
      throw InputError(
        .wrongTap, "--taps \(globs.joined(separator: ","))", expected: "taps computed up to \(last)",
        found: "only later ones",
        advice: "give a later --until")
    }
  }
}
