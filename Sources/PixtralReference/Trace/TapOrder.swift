/// Where a tap stands in the order of computation, by its name. Model.md 8.
///
/// A file of another program may hold its tensors in any order; the first that differs is the first
/// that was computed.
struct TapPlace: Comparable {
  /// Stage; layer or image; step.
  private let numbers: [Int]

  /// - Returns: nil for a name that is no tap's and no image's.
  init?(_ name: String) {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    if Self.isPixels(name), let n = Int(name.dropFirst("image".count)) {
      numbers = [0, n, 2]  // what the vision encoder takes: an input, after the two pictures of it
    } else if parts.count == 3, parts[0] == "image", let n = Int(parts[1]),
      let step = ["rgb", "resized"].firstIndex(of: parts[2])
    {
      numbers = [0, n, step]
    } else if let layer = LayerTapName(name) {
      numbers = [
        layer.part == "vision" ? 2 : 5, layer.layer, LayerTap.allCases.firstIndex(of: layer.tap)!,
      ]
    } else if let tap = ModelTap(rawValue: name) {
      numbers =
        switch tap {
        case .patchConv: [1, 0]
        case .lnPre: [1, 1]
        case .adapterIn: [3, 0]
        case .adapterGelu: [3, 1]
        case .adapterOut: [3, 2]
        case .embeddings: [4]
        case .decoderNorm: [6, 0]
        case .logits: [6, 1]
        }
    } else {
      return nil
    }
  }

  /// Whether a name is that of an image's pixels: `image0`, `image1`, ….
  static func isPixels(_ name: String) -> Bool {
    name.hasPrefix("image") && Int(name.dropFirst("image".count)).map { "image\($0)" == name } ?? false
  }

  static func < (left: TapPlace, right: TapPlace) -> Bool {
    left.numbers.lexicographicallyPrecedes(right.numbers)
  }
}

extension Sequence {
  /// In the order of computation; what is no tap comes behind, in the order in which it stands here.
  func inOrderOfComputation(_ name: (Element) -> String) -> [Element] {
    enumerated().map { (place: TapPlace(name($1)), number: $0, element: $1) }
      .sorted { a, b in
        switch (a.place, b.place) {
        case (let left?, let right?): left == right ? a.number < b.number : left < right
        case (.some, nil): true
        case (nil, .some): false
        case (nil, nil): a.number < b.number
        }
      }
      .map(\.element)
  }
}
