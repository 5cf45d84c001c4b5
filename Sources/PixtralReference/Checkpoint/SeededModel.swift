import PixtralStorage

/// Seeded models by name. Model.md 1 and 9.6.
enum SeededModel {
  static let seed = 2411

  static let all: [String: Parameters] = [
    "seeded:tiny": make(
      """
      {"dim": 80, "n_layers": 3, "head_dim": 20, "hidden_dim": 208, "n_heads": 6, "n_kv_heads": 2,
       "norm_eps": 1e-5, "vocab_size": 32768, "rope_theta": 1e6,
       "vision_encoder": {"hidden_size": 60, "num_channels": 3, "image_size": 1024, "patch_size": 16,
         "intermediate_size": 144, "num_hidden_layers": 2, "num_attention_heads": 5, "rope_theta": 1e4,
         "image_token_id": 10, "image_break_token_id": 14, "image_end_token_id": 15, "adapter_bias": false}}
      """),
    // Shapes that production kernels take: heads of 128 and 64 columns, widths that are multiples of 128.
    // No two widths are the same, so that one taken for another shows.
    "seeded:small": make(
      """
      {"dim": 256, "n_layers": 3, "head_dim": 128, "hidden_dim": 1280, "n_heads": 16, "n_kv_heads": 4,
       "norm_eps": 1e-5, "vocab_size": 32768, "rope_theta": 1e6,
       "vision_encoder": {"hidden_size": 384, "num_channels": 3, "image_size": 1024, "patch_size": 16,
         "intermediate_size": 640, "num_hidden_layers": 4, "num_attention_heads": 6, "rope_theta": 1e4,
         "image_token_id": 10, "image_break_token_id": 14, "image_end_token_id": 15, "adapter_bias": false}}
      """),
    "seeded:pixtral-large": make(
      """
      {"dim": 12288, "n_layers": 88, "head_dim": 128, "hidden_dim": 28672, "n_heads": 96, "n_kv_heads": 8,
       "norm_eps": 1e-5, "vocab_size": 32768, "rope_theta": 1e6,
       "vision_encoder": {"hidden_size": 1408, "num_channels": 3, "image_size": 1024, "patch_size": 16,
         "intermediate_size": 6144, "num_hidden_layers": 40, "num_attention_heads": 16, "rope_theta": 1e4,
         "image_token_id": 10, "image_break_token_id": 14, "image_end_token_id": 15, "adapter_bias": false}}
      """),
  ]

  /// All names, for a sentence: `a, b or c`.
  static var names: String {
    let names = all.keys.sorted()
    return "\(names.dropLast().joined(separator: ", ")) or \(names.last!)"
  }

  private static func make(_ text: String) -> Parameters {
    do {
      return try Parameters(JSON(parsing: text, place: "a seeded model"), place: "a seeded model")
    } catch {
      preconditionFailure("\(error)")
    }
  }
}
