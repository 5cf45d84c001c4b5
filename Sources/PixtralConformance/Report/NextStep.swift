/// What to look at, where something shows first: sentences in Markdown, with the places of the documents.
enum NextStep {
  static func at(tap: String) -> String? {
    let words = tap.split(separator: ".")
    let isLayer = words.count > 3 && words[1] == "layers"
    let isVision = words.first == "vision"
    return isLayer ? layer(words.dropFirst(3).joined(separator: "."), isVision) : around(tap)
  }

  private static func layer(_ step: String, _ isVision: Bool) -> String? {
    let chapter = isVision ? "5" : "7"
    switch step {
    case "attention_norm", "ffn_norm":
      return "RMSNorm: the epsilon, the mean over the columns of a row, the weight. Model.md 3.1."
    case "attention.q", "attention.k", "attention.v":
      return "A projection alone: which weight, transposed or not, its rows in Mistral's order or permuted "
        + "for half-split rotation, no bias. Model.md 2 and 3.6."
    case "attention.q_rotated", "attention.k_rotated":
      return isVision
        ? "The rotation: row and column of a patch in its own image, even frequencies for the row and odd "
          + "for the column, adjacent pairs, theta. Model.md 3.2 and 5.3."
        : "The rotation: positions from 0 with image tokens counted, adjacent pairs, theta. Model.md 3.2 and 7.3."
    case "attention.context":
      return isVision
        ? "Who sees whom: all patches of the same image, and none of another; no causal order. Then the "
          + "scale, and softmax. Model.md 3.3 and 5.4."
        : "Who sees whom: a token itself and those before it. Then the scale, softmax, and which key-value "
          + "head a query head reads. Model.md 3.3 and 7.4."
    case "attention.output": return "`wo`, on the heads joined along the columns. Model.md 3.3 and 3.6."
    case "residual": return "The layer's input plus attention's output, before any norm. Model.md 3.6."
    case "feed_forward.gate", "feed_forward.up":
      return "`w1` is the gate and `w3` is up; they may have changed places. Model.md 3.4."
    case "feed_forward.hidden":
      return "`silu(gate) · up`: SiLU, and no GELU, in both parts of the model. Model.md 3.4."
    case "feed_forward.output": return "`w2`. Model.md 3.4."
    case "output": return "`residual` plus the output of the feed-forward part. Model.md 3.6."
    default: return "Model.md \(chapter)."
    }
  }

  private static func around(_ tap: String) -> String? {
    switch tap {
    case "vision.patch_conv":
      return
        "The patch flattened as (channel, y, x), the weight likewise, no bias; before it the pixels. Model.md 5.1."
    case "vision.ln_pre": return "RMSNorm, and no LayerNorm, before the first layer. Model.md 5.2."
    case "adapter.w_in":
      return "The first matrix of the adapter, and its bias only if `adapter_bias` says so. Model.md 6.1."
    case "adapter.gelu": return "GELU: the exact form with erf, no tanh, no table. Model.md 3.5."
    case "adapter.w_out": return "The second matrix of the adapter. Model.md 6.1."
    case "decoder.embeddings":
      return
        "The rows of `[IMG]` are the adapter's, in their order; breaks and ends keep their own. Model.md 6.2."
    case "decoder.norm": return "The last RMSNorm. Model.md 7.5."
    case "logits": return "`output.weight`, which is not the token embeddings. Model.md 7.5."
    default: return nil
    }
  }

  static func within(_ stage: Stage, operation: String) -> String {
    switch (stage, operation) {
    case (.tokens, "encode one stretch of text"): "From text to tokens: Tokens.md 2."
    case (.tokens, "decode tokens"): "From tokens to text: Tokens.md 3."
    case (.tokens, "cut a V7 request to a number of tokens"): "Truncation: Tokens.md 11."
    case (.tokens, "render a request to fill in the middle"): "Fill in the middle: Tokens.md 12."
    case (.tokens, _): "The template: Tokens.md 10; what is refused: Tokens.md 4 to 9."
    case (.grid, _): "The grid: Model.md 4.1."
    case (.rgb, _): "From a file to RGB: Model.md 4.2, and Images.md."
    case (.pixels, _): "Stretching and normalising: Model.md 4.3 and 4.4."
    case (.steps, _): "One operation on inputs that are right: Conformance.md, single steps."
    case (.answer, _): "Positions, keys and values behind the prompt: Answer.md 1; log-probabilities: 2."
    case (.endpoint, _): "What a server tells: Conformance.md, an endpoint."
    case (.model, _): "The parameters and tensors of the checkpoint: Model.md 1 and 2."
    }
  }
}
