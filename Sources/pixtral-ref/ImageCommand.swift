import ArgumentParser
import PixtralImage
import PixtralProgram
import PixtralReference
import PixtralStorage

struct ImageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "image",
    abstract: "Show what the model sees of image files.",
    discussion: """
      Prints a line a file: {"file", "width", "height", "columns", "rows", "tokens"}, or {"file", \
      "error": {"type", "message"}}. Exits with 2 if any file was refused.

      Every kind of PNG and JPEG is read, as Pillow reads it. EXIF orientation is not applied, as in \
      mistral-common; a warning says so of a file that has one.
      """)

  @Argument(help: "PNG or JPEG files.")
  var files: [String]

  @Option(
    help: "Also write the normalised pixels: tensors image0, image1, …, float32 [3, rows·16, columns·16].")
  var pixels: String?

  @Option(
    help:
      """
      Also draw what the model sees of one file: its patches, the token behind each row, how many \
      tokens; a PNG.
      """
  )
  var preview: String?

  @OptionGroup var limit: PixelLimit

  func validate() throws {
    if preview != nil && files.count > 1 {
      throw ValidationError("--preview draws one file; \(files.count) were given.")
    }
    for output in [pixels, preview].compactMap(\.self) where files.contains(where: { isSameFile($0, output) })
    {
      throw ValidationError("\(output) is one of the images, and would be written over; choose another name.")
    }
    if let pixels, let preview, isSamePlace(pixels, preview) {
      throw ValidationError("--pixels and --preview would write over each other; choose other names.")
    }
  }

  /// One image after another is decoded, stretched and written: however many there are, one is in
  /// memory.
  func run() throws {
    var pixelsFile = try pixels.flatMap(begin)
    var previewFile = try preview.map { try NewFile($0, sparing: files) }
    var refused = false
    for (n, file) in files.enumerated() {
      let size: ImageSize
      var image: RGBImage?
      do throws(InputError) {
        if pixelsFile != nil || previewFile != nil {
          image = try RGBImage(file: file, maxPixels: limit.maxPixels)
          size = image!.size
        } else {
          size = try ImageSize(file: file, maxPixels: limit.maxPixels)
        }
      } catch {
        let line: JSON = [
          "file": .string(file), "error": ["type": .string(error.type), "message": .string("\(error)")],
        ]
        Console.out(line.text())
        // What is begun goes with it.
        (refused, pixelsFile, previewFile) = (true, nil, nil)
        continue
      }
      Console.warn(of: size.orientation, file)
      let grid = ImageRule.m1.grid(size)
      let line: JSON = [
        "file": .string(file), "width": .integer(size.width), "height": .integer(size.height),
        "columns": .integer(grid.columns), "rows": .integer(grid.rows),
        "tokens": .integer(grid.tokens),
      ]
      Console.out(line.text())
      if let image {
        try pixelsFile?.write(Pixels(image), of: file, n)
        try previewFile?.write(PNG.encode(Preview.draw(image)))
      }
    }
    if refused {
      if pixels != nil || preview != nil { Console.message("nothing written, for a file was refused") }
      throw ExitCode.refused
    }
    // Both are whole before one gets its name.
    try pixelsFile?.complete()
    try previewFile?.complete()
    try pixelsFile?.finish()
    try previewFile?.finish()
  }

  /// Begins the file of pixels, with room for all of them: the headers of the images give the sizes.
  ///
  /// - Returns: nil if one of them cannot be read; why, its turn will show.
  private func begin(_ pixels: String) throws -> PixelsFile? {
    let sizes = files.compactMap(ImageSize.announced)
    guard sizes.count == files.count else { return nil }
    return try PixelsFile(sizes.map { ImageRule.m1.grid($0) }, rule: .m1, to: pixels, sparing: files)
  }
}
