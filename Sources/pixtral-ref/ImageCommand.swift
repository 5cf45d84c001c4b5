import ArgumentParser
import PixtralImage
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
    let outputs = [pixels, preview].compactMap(\.self).map(plainPath)
    // A file has another name until it is whole.
    let names = outputs + outputs.map(NewFile.partialPath)
    if let name = names.first(where: { name in files.contains { isSameFile($0, name) } }) {
      throw ValidationError("\(name) is one of the images, and would be written over; choose another name.")
    }
    if Set(names).count < names.count || (outputs.count == 2 && isSameFile(outputs[0], outputs[1])) {
      throw ValidationError("--pixels and --preview would write over each other; choose other names.")
    }
  }

  func run() throws {
    var images: [Pixels] = []
    var picture: RGBImage?
    var refused = false
    for file in files {
      do throws(InputError) {
        let size: ImageSize
        if pixels != nil || preview != nil {
          let rgb = try RGBImage(file: file, maxPixels: limit.maxPixels)
          if pixels != nil { images.append(Pixels(rgb)) }
          if preview != nil { picture = rgb }
          size = rgb.size
        } else {
          size = try ImageSize(file: file, maxPixels: limit.maxPixels)
        }
        Console.warn(of: size.orientation, file)
        let grid = ImageRule.m1.grid(size)
        let line: JSON = [
          "file": .string(file), "width": .integer(size.width), "height": .integer(size.height),
          "columns": .integer(grid.columns), "rows": .integer(grid.rows),
          "tokens": .integer(grid.tokens),
        ]
        Console.out(line.text())
      } catch {
        refused = true
        let line: JSON = [
          "file": .string(file), "error": ["type": .string(error.type), "message": .string("\(error)")],
        ]
        Console.out(line.text())
      }
    }
    if refused {
      if pixels != nil || preview != nil { Console.message("nothing written, for a file was refused") }
      throw ExitCode.refused
    }
    if let pixels {
      Cleanup.removeOnInterrupt(NewFile.partialPath(of: pixels))
      try Pixels.write(images, to: pixels)
    }
    if let preview, let picture {
      Cleanup.removeOnInterrupt(NewFile.partialPath(of: preview))
      try Preview.write(picture, to: preview)
    }
  }
}
