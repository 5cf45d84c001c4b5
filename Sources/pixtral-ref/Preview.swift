import PixtralImage
import PixtralStorage

/// A picture for people of what the model sees: the stretched image cut into patches, the token
/// behind each row, and how many tokens all that is.
struct Preview {
  private typealias Colour = SIMD3<UInt8>

  private static let (ground, line, ink): (Colour, Colour, Colour) = (
    [24, 24, 28], [0, 190, 255], [235, 235, 235]
  )
  private static let (breakColour, endColour): (Colour, Colour) = ([255, 176, 0], [240, 60, 60])

  private let width: Int
  private let height: Int
  private var samples: [UInt8]

  /// Draws an image. Small ones are enlarged by a whole number, so that their pixels show: as large
  /// as the longer side stays within 640.
  static func draw(_ image: RGBImage, rule: ImageRule = .m1) -> RGBImage {
    let grid = rule.grid(image.size)
    let (columns, rows, patch) = (grid.columns, grid.rows, rule.patchSize)
    let pixels = image.stretched(to: grid, patchSize: patch).pixels
    let captions = captions(of: image, grid, patch)

    let zoom = max(1, 640 / (max(columns, rows) * patch))
    let cell = patch * zoom + 1  // with the line on its left, or above it
    let margin = 8
    let left = margin
    let top = margin + captions.count * textHeight + margin
    let captionWidth = captions.map { $0.reduce(0) { $0 + $1.text.utf8.count } * textWidth }.max()!
    var preview = Preview(
      width: max(left + columns * cell + 1 + margin + cell, margin + captionWidth) + margin,
      height: top + rows * cell + 1 + margin)

    for (number, caption) in captions.enumerated() {
      var x = margin
      for (text, colour) in caption {
        preview.write(text, x: x, y: margin + number * textHeight, colour)
        x += text.utf8.count * textWidth
      }
    }
    preview.fill(x: left, y: top, columns * cell + 1, rows * cell + 1, line)
    for y in 0..<rows * patch {
      for x in 0..<columns * patch {
        let seen = pixels[y * columns * patch + x].clamped(
          lowerBound: .zero, upperBound: SIMD4(repeating: 255)
        ).rounded(.toNearestOrEven)
        let colour = Colour(UInt8(seen.x), UInt8(seen.y), UInt8(seen.z))
        preview.fill(
          x: left + x * zoom + x / patch + 1, y: top + y * zoom + y / patch + 1, zoom, zoom, colour)
      }
    }
    for row in 0..<rows {
      let colour = row == rows - 1 ? endColour : breakColour
      preview.fill(x: left + columns * cell + 1 + margin, y: top + row * cell + 1, cell - 1, cell - 1, colour)
    }
    return RGBImage(ImageSize(width: preview.width, height: preview.height), samples: preview.samples)
  }

  private static func captions(of image: RGBImage, _ grid: PatchGrid, _ patch: Int) -> [[(
    text: String, colour: Colour
  )]] {
    let (columns, rows) = (grid.columns, grid.rows)
    let size =
      "\(image.width)X\(image.height) PIXELS, SEEN AS \(columns * patch)X\(rows * patch): "
      + "\(columns) COLUMNS, \(rows) ROWS"
    return [
      [(size, ink)],
      [
        ("\(grid.patches) [IMG] + ", ink), ("\(rows - 1) [IMG_BREAK]", breakColour), (" + ", ink),
        ("1 [IMG_END]", endColour),
        (" = \(grid.tokens) TOKENS", ink),
      ],
    ]
  }

  private init(width: Int, height: Int) {
    (self.width, self.height) = (width, height)
    samples = (0..<width * height).flatMap { _ in [Self.ground.x, Self.ground.y, Self.ground.z] }
  }

  private mutating func fill(x: Int, y: Int, _ width: Int, _ height: Int, _ colour: Colour) {
    for row in y..<y + height {
      for pixel in row * self.width + x..<row * self.width + x + width {
        for channel in 0..<3 { samples[pixel * 3 + channel] = colour[channel] }
      }
    }
  }

  // MARK: - Letters

  /// Of 3 by 5 dots, each of 3 by 3 pixels, with a dot of space.
  private static let dot = 3
  private static let textWidth = 4 * dot
  private static let textHeight = 8 * dot

  private mutating func write(_ text: String, x: Int, y: Int, _ colour: Colour) {
    for (place, letter) in text.enumerated() {
      guard let shape = Self.letters[letter] else { continue }
      for bit in 0..<15 where shape >> (14 - bit) & 1 == 1 {
        fill(
          x: x + place * Self.textWidth + bit % 3 * Self.dot, y: y + bit / 3 * Self.dot, Self.dot, Self.dot,
          colour)
      }
    }
  }

  /// An octal digit is a row of three dots, from the top.
  private static let letters: [Character: Int] = [
    "0": 0o75557, "1": 0o26227, "2": 0o71747, "3": 0o71717, "4": 0o55711, "5": 0o74717, "6": 0o74757,
    "7": 0o71122, "8": 0o75757,
    "9": 0o75717,
    "A": 0o25755, "B": 0o65656, "C": 0o34443, "D": 0o65556, "E": 0o74647, "G": 0o34553, "I": 0o72227,
    "K": 0o55655, "L": 0o44447,
    "M": 0o57755,
    "N": 0o65555, "O": 0o25552, "P": 0o65644, "R": 0o65655, "S": 0o34216, "T": 0o72222, "U": 0o55557,
    "W": 0o55775, "X": 0o55255,
    "[": 0o64446, "]": 0o31113, "_": 0o00007, "+": 0o02720, "=": 0o07070, ",": 0o00024, ":": 0o02020,
  ]
}
