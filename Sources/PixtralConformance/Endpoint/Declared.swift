import PixtralReference
import PixtralStorage

/// How a server treats images, which it cannot be asked: Images.md.
package enum ImagesRule: String, CaseIterable, Sendable {
  case mistral
  /// transformers' rule: scaled sides are rounded down, and images are smoothed.
  case huggingface

  var feature: String {
    switch self {
    case .mistral: "resize.opencv-cubic"
    case .huggingface: "image.huggingface"
    }
  }
}

/// What is said of a server, because no server tells it.
package struct Declared: Sendable, Equatable {
  /// What the model is called there; nil for the first that the server lists.
  package var model: String?
  /// What it computes in.
  package var arithmetic = Arithmetic.float32
  /// Whose rule of images it follows, on purpose.
  package var images = ImagesRule.mistral
  /// Whether it serves seeded:small, of which it is known what is right.
  package var hasKnownWeights = true

  package init() {}

  /// The first line of a recording.
  var json: JSON {
    [
      "declared": [
        "model": model.map(JSON.string) ?? .null, "arithmetic": .string(arithmetic.rawValue),
        "images": .string(images.rawValue), "known_weights": .bool(hasKnownWeights),
      ]
    ]
  }

  /// Reads such a line; nil for another.
  init?(_ line: JSON, place: String) throws {
    guard let json = line["declared"] else { return nil }
    guard case .string(let arithmetic)? = json["arithmetic"],
      let arithmetic = Arithmetic(rawValue: arithmetic),
      case .string(let images)? = json["images"], let images = ImagesRule(rawValue: images),
      case .bool(let isKnown)? = json["known_weights"], let model = json["model"]
    else {
      throw InputError(
        .wrongRequest, "\(place), declared", expected: "model, arithmetic, images and known_weights",
        found: shortened(json.text(), to: 80))
    }
    if case .string(let name) = model { self.model = name }
    (self.arithmetic, self.images, hasKnownWeights) = (arithmetic, images, isKnown)
  }
}
