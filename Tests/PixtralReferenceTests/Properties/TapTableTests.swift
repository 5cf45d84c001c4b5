import Foundation
import PixtralImage
import TestSupport
import Testing

@testable import PixtralReference

/// Model.md 8 is a table for people; here it is read.
@Suite("The table of taps")
struct TapTableTests {
  private let table: TapTable
  private let parameters: Parameters

  init() throws { (table, parameters) = (try TapTable(), try Checkpoint("seeded:tiny").parameters) }

  @Test("The table names the taps of a run with images, in the order of computation")
  func withImages() {
    #expect(table.names(images: 2, layers: (vision: 2, decoder: 3)) == planned(images: 2).map(\.name))
  }

  @Test("A request without images has none of the vision. and adapter. taps")
  func withoutImages() {
    let names = table.names(images: 0, layers: (vision: 2, decoder: 3))
    #expect(
      names.filter { !$0.hasPrefix("vision.") && !$0.hasPrefix("adapter.") } == planned(images: 0).map(\.name)
    )
  }

  @Test("Every tap is computed from taps before it, and all but the logits go into one", arguments: [0, 2])
  func inputs(images: Int) {
    let names = planned(images: images).map(\.name).filter { !$0.hasPrefix("image.") }
    var used: Set<String> = []
    for (n, name) in names.enumerated() {
      let inputs = parameters.inputs(of: name, hasImages: images > 0)
      #expect(inputs.isEmpty == (name == names[0]), "\(name)")
      #expect(Set(inputs).isSubset(of: names[..<n]), "\(name)")
      used.formUnion(inputs)
    }
    let unused = names.filter { !used.contains($0) }
    #expect(unused.allSatisfy { $0 == "logits" || $0.hasSuffix("attention.weights") })
  }

  @Test("The table says which taps are on demand")
  func onDemand() {
    let ofLayers = table.rows.filter(\.onDemand).map(\.name)
    let expected = planned(images: 1).filter { tap in
      ofLayers.contains { tap.name.hasSuffix(".\($0)") } || tap.name.hasPrefix("image.")
    }
    #expect(planned(images: 1).filter(\.onDemand) == expected)
  }

  @Test("The table says how many columns the taps of layers have", arguments: ["vision", "decoder"])
  func columns(part: String) {
    let shape = parameters
    let sizes = [  // section 1; P and T as in `planned`
      "E": shape.vision.hiddenSize, "I": shape.vision.intermediateSize, "A": shape.vision.heads, "P": 6,
      "D": shape.dim, "F": shape.hiddenDim, "H": shape.heads, "G": shape.keyValueHeads, "d": shape.headDim,
      "T": 50,
    ]
    let found = table.rows.map { row in
      (part == "vision" ? row.vision : row.decoder).split(separator: "·").reduce(1) {
        $0 * sizes[String($1)]!
      }
    }
    #expect(found == planned(images: 1).filter { $0.name.hasPrefix("\(part).layers.1.") }.map(\.columns))
  }

  /// Images of 3 by 2 patches and a prompt of 50 tokens.
  private func planned(images: Int) -> [PlannedTap] {
    let image = ImageShape(sent: ImageSize(width: 40, height: 30), grid: PatchGrid(columns: 3, rows: 2))
    return parameters.taps(images: Array(repeating: image, count: images), tokens: 50, logitRows: 1)
  }
}

/// Section 8 of Docs/Model.md.
private struct TapTable {
  struct Row {
    let name: String
    let onDemand: Bool
    /// Columns in the vision encoder and in the decoder, such as `H·d`.
    let vision, decoder: String
  }

  /// The taps of a layer.
  let rows: [Row]
  /// The taps around the layers, in the order in which the text has them.
  private let around: [String]

  init() throws {
    let text = try String(contentsOfFile: "\(checkout)/Docs/Model.md", encoding: .utf8)
    let section = try #require(text.split(separator: "\n## ").first { $0.hasPrefix("8. Taps") })
    let cells = section.split(separator: "\n").filter { $0.hasPrefix("| `") }.map { line in
      line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
    }
    // "E, E, E / H·d, G·d, G·d" or "E / D": one for each name of the line, or one for all. "the same" as
    // the names have without "_rotated".
    var rows: [Row] = []
    for cell in cells {
      let names = Self.quoted(cell[0])
      var sizes = cell[2].components(separatedBy: " / ").map { $0.components(separatedBy: ", ") }
      if sizes == [["the same"]] {
        let plain = names.compactMap { name in rows.first { name == "\($0.name)_rotated" } }
        sizes = [plain.map(\.vision), plain.map(\.decoder)]
      }
      for (n, name) in names.enumerated() {
        let (vision, decoder) = (sizes[0], sizes[1])
        rows.append(
          Row(
            name: name, onDemand: cell[0].contains("on demand"),
            vision: vision.count == 1 ? vision[0] : vision[n],
            decoder: decoder.count == 1 ? decoder[0] : decoder[n]))
      }
    }
    self.rows = rows
    let paragraph = try #require(section.range(of: "\nAround them: ")).upperBound
    around = Self.quoted(String(section[paragraph...].prefix(while: { $0 != ":" })))
  }

  /// The taps of a run: each part's layers behind what stands around them.
  func names(images: Int, layers: (vision: Int, decoder: Int)) -> [String] {
    func layerNames(_ part: String, _ count: Int) -> [String] {
      (0..<count).flatMap { n in rows.map { "\(part).layers.\(n).\($0.name)" } }
    }
    let pictures = around.filter { $0.hasPrefix("image.") }
    return (0..<images).flatMap { n in pictures.map { $0.replacingOccurrences(of: "N", with: "\(n)") } }
      + around.filter { $0.hasPrefix("vision.") } + layerNames("vision", layers.vision)
      + around.filter { $0.hasPrefix("adapter.") } + ["decoder.embeddings"]
      + layerNames("decoder", layers.decoder)
      + around.drop { $0 != "decoder.embeddings" }.dropFirst().filter { !$0.hasPrefix("image.") }
  }

  /// What stands between backticks.
  private static func quoted(_ text: String) -> [String] {
    text.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 }
      .map { String($0.element) }
  }
}
