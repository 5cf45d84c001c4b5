import ArgumentParser
import CLinux
import Glibc
import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText

extension Precision: ExpressibleByArgument {}

extension CheckpointLayout: ExpressibleByArgument {}

extension ChatRequest.Form: ExpressibleByArgument {}

/// How large an image may be.
package struct PixelLimit: ParsableArguments {
  @Option(help: "Refuse images of more pixels than this, before they are decoded.")
  package var maxPixels = ImageSize.usualMaxPixels

  package init() {}

  package func validate() throws {
    guard (1...Int(UInt32.max)).contains(maxPixels) else {
      throw ValidationError("--max-pixels must be from 1 to \(UInt32.max).")
    }
  }
}

/// The tokenizer file.
package struct TokenizerFile: ParsableArguments {
  @Option(help: "The SentencePiece model; found in Fixtures without this.")
  package var tokenizer: String?

  package init() {}

  package func read() throws -> Tokenizer { try Tokenizer(file: path()) }

  /// As given; or of Fixtures.
  package func path() throws -> String {
    try tokenizer
      ?? shared("Fixtures/tokenizer/\(Tokenizer.fileName)", what: "the tokenizer", option: "--tokenizer")
  }
}

/// A file or folder of the checkout that the program was built in or is run from, or of what `make
/// install` put beside it.
///
/// - what, option: for the error, if it is not there.
package func shared(_ name: String, what: String, option: String) throws -> String {
  let program = pathOfThisProgram()
  var folders: [String] = ["."]
  for end in program.indices.reversed() where program[end] == "/" {
    folders += [String(program[..<end]), "\(program[..<end])/share/pixtral-ref"]
  }
  for folder in folders where access("\(folder)/\(name)", R_OK) == 0 { return "\(folder)/\(name)" }
  throw InputError(
    .unreadableFile, what,
    expected: "\(fileName(of: name)) in \(PixtralStorage.folder(of: name)) of a checkout",
    found: "none", advice: "give its path with \(option)")
}

/// The patterns of an option `--taps`; none if it was not given.
package func patterns(_ option: String?) -> [String] {
  option?.split { $0 == "," || $0 == " " }.map(String.init) ?? []
}

/// Matrices come and go: lets the allocator keep their memory rather than fetch and clear new pages for each.
///
/// - upTo: bytes, 32 MiB at most, for glibc; what is larger goes back to the system when it is freed.
package func keepFreedMemory(upTo limit: Int32 = 32 << 20) {
  mallopt(M_MMAP_THRESHOLD, limit)
  mallopt(M_TRIM_THRESHOLD, limit)
}
