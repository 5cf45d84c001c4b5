import PixtralStorage
import PixtralText

/// Something in a checkpoint's parameters that is not as Pixtral Large has it, or that depends on who reads it.
package struct Doubt: Sendable, Equatable {
  /// In its file, from the outermost object: `text_config.rope_theta`.
  package let key: String
  /// null where there is no such key.
  package let found: JSON
  package let expected: JSON
  package let why: String

  package var json: JSON { ["key": .string(key), "found": found, "expected": expected, "why": .string(why)] }
}

extension ParametersFile {
  /// What is doubtful, a key at most once: first what makes it another model, then keys that fall to a
  /// library's default, then numbers and sizes.
  package var doubts: [Doubt] {
    var known: Set<String> = []
    let all = refused + missing + numbers + sizes + types
    return all.filter { known.insert($0.key).inserted }
  }

  private var refused: [Doubt] {
    refusals.map { refusal in
      let keys = self.keys(of: refusal.place)
      return Doubt(
        key: keys.joined(separator: "."), found: value(keys), expected: .string(refusal.expected),
        why: value(keys) == .null
          ? "\(refusal.found): another model" : "it makes another model, and trace refuses it")
    }
  }

  private var missing: [Doubt] {
    let numbers = defaults.map { absent in
      let keys = self.keys(of: absent.place)
      let key = keys.joined(separator: ".")
      return Doubt(
        key: key, found: .null,
        expected: expectations.first { $0.key(layout) == key }?.large ?? absent.value,
        why: "there is no such key; transformers takes \(absent.value.text())")
    }
    return numbers
      + alwaysWritten.filter { value($0.keys) == .null }.map {
        Doubt(key: $0.keys.joined(separator: "."), found: .null, expected: $0.expected, why: $0.why)
      }
  }

  /// Keys that the reader here can do without, and that other programs fill in each in its own way.
  private var alwaysWritten: [(keys: [String], expected: JSON, why: String)] {
    let own = "there is no such key; each program takes a default of its own"
    switch layout {
    case .mistral:
      let tekken = "there is no such key; programs have taken Tekken's 12 and 13"
      return [
        (
          ["vision_encoder", "adapter_bias"], .bool(false),
          "there is no such key, which means true; Pixtral Large has no biases there"
        ),
        (["vision_encoder", "image_break_token_id"], .integer(V7Token.imageBreak.rawValue), tekken),
        (["vision_encoder", "image_end_token_id"], .integer(V7Token.imageEnd.rawValue), tekken),
      ]
    case .hf:
      return [(["text_config", "hidden_act"], "silu", own), (["projector_hidden_act"], "gelu", own)]
    }
  }

  /// Numbers that are no sizes.
  private var numbers: [Doubt] {
    expectations.filter { !$0.isSize }.compactMap { item in
      guard let key = item.key(layout), item.found != item.large else { return nil }
      let other = item.found == item.small ? "it is Pixtral 12B's" : item.why
      return Doubt(key: key, found: item.found, expected: item.large, why: other)
    }
  }

  /// Sizes of Pixtral 12B anywhere; and any other size where most are Pixtral Large's.
  private var sizes: [Doubt] {
    let sizes = expectations.filter(\.isSize)
    let isLarge = sizes.count { $0.found == $0.large } > sizes.count / 2
    return sizes.compactMap { item in
      guard let key = item.key(layout), item.found != item.large else { return nil }
      if item.found == item.small {
        return Doubt(key: key, found: item.found, expected: item.large, why: "it is Pixtral 12B's")
      }
      return isLarge
        ? Doubt(key: key, found: item.found, expected: item.large, why: "the other sizes are Pixtral Large's")
        : nil
    }
  }

  /// A dtype in which the weights would be loaded, other than theirs.
  private var types: [Doubt] {
    let places = [["dtype"], ["torch_dtype"]].flatMap { [$0, ["text_config"] + $0, ["vision_config"] + $0] }
    return places.filter { value($0) == "float16" }.map {
      Doubt(
        key: $0.joined(separator: "."), found: "float16", expected: "bfloat16",
        why: "activations and weights beyond 65504 become infinite in float16")
    }
  }

  /// The keys that an error's place names, behind the file.
  private func keys(of place: String) -> [String] {
    place.dropFirst("\(path), ".count).split(separator: ", ").map(String.init)
  }

  private func value(_ keys: [String]) -> JSON {
    keys.reduce(json) { $0[$1] ?? .null }
  }
}

/// A parameter as Pixtral Large has it, and as Pixtral 12B does.
private struct Expectation {
  /// nil where the layout has no such key.
  let mistral: String?
  let hf: String?
  let found: JSON
  let large: JSON
  let small: JSON
  var isSize = true
  var why = ""

  func key(_ layout: CheckpointLayout) -> String? { layout == .mistral ? mistral : hf }
}

extension ParametersFile {
  fileprivate var expectations: [Expectation] {
    let (text, image) = (parameters, parameters.vision)
    func size(_ mistral: String, _ hf: String, _ found: Int, _ large: Int, _ small: Int) -> Expectation {
      Expectation(
        mistral: mistral, hf: hf, found: .integer(found), large: .integer(large), small: .integer(small))
    }
    func visionSize(_ key: String, _ found: Int, _ large: Int, _ small: Int) -> Expectation {
      size("vision_encoder.\(key)", "vision_config.\(key)", found, large, small)
    }
    func number(
      _ mistral: String?, _ hf: String?, _ found: JSON, _ large: JSON, _ small: JSON, _ why: String
    ) -> Expectation {
      Expectation(
        mistral: mistral, hf: hf, found: found, large: large, small: small, isSize: false, why: why)
    }
    // Where the base of rotation stands: flat, or in an object.
    let places = [["rope_theta"], ["rope_parameters", "rope_theta"], ["rope_scaling", "rope_theta"]]
    let rope = (places.first { value(["text_config"] + $0) != .null } ?? places[0]).joined(separator: ".")
    let theta =
      text.ropeTheta == 1e4
      ? "it is the default of libraries" : "every token behind the first is turned by it"
    let token = "the template writes another id"
    return [
      number(
        "rope_theta", "text_config.\(rope)", .number(text.ropeTheta), .number(1e6), .number(1e9), theta),
      number(
        "norm_eps", "text_config.rms_norm_eps", .number(text.normEpsilon), .number(1e-5), .number(1e-5),
        text.normEpsilon == 1e-6
          ? "it is transformers' default, which a converter leaves that drops norm_eps" : "every norm adds it"
      ),
      number(
        "vision_encoder.rope_theta", "vision_config.rope_theta", .number(image.ropeTheta), .number(1e4),
        .number(1e4), "patches are turned by it"),
      number(
        "vision_encoder.adapter_bias", "multimodal_projector_bias", .bool(image.adapterBias), .bool(false),
        .bool(true), ""),
      number(
        "vision_encoder.image_token_id",
        json["image_token_id"] == nil ? "image_token_index" : "image_token_id",
        .integer(image.imageToken), .integer(10), .integer(10), token),
      number(
        "vision_encoder.image_break_token_id", nil, .integer(image.imageBreakToken), .integer(14),
        .integer(12), token),
      number(
        "vision_encoder.image_end_token_id", nil, .integer(image.imageEndToken), .integer(15), .integer(13),
        token),
      size("dim", "text_config.hidden_size", text.dim, 12_288, 5120),
      size("n_layers", "text_config.num_hidden_layers", text.layers, 88, 40),
      size("head_dim", "text_config.head_dim", text.headDim, 128, 128),
      size("hidden_dim", "text_config.intermediate_size", text.hiddenDim, 28_672, 14_336),
      size("n_heads", "text_config.num_attention_heads", text.heads, 96, 32),
      size("n_kv_heads", "text_config.num_key_value_heads", text.keyValueHeads, 8, 8),
      size("vocab_size", "text_config.vocab_size", text.vocabularySize, 32_768, 131_072),
      visionSize("hidden_size", image.hiddenSize, 1408, 1024),
      visionSize("intermediate_size", image.intermediateSize, 6144, 4096),
      visionSize("num_hidden_layers", image.layers, 40, 24),
      visionSize("num_attention_heads", image.heads, 16, 16),
      visionSize("image_size", image.imageSize, 1024, 1024),
      visionSize("patch_size", image.patchSize, 16, 16),
    ]
  }
}
