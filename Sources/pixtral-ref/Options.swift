import ArgumentParser
import CMalloc
import Glibc
import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText

extension Precision: ExpressibleByArgument {}

extension CheckpointLayout: ExpressibleByArgument {}

extension ChatRequest.Form: ExpressibleByArgument {}

/// How large an image may be.
struct PixelLimit: ParsableArguments {
  @Option(help: "Refuse images of more pixels than this, before they are decoded.")
  var maxPixels = ImageSize.usualMaxPixels

  func validate() throws {
    guard (1...Int(UInt32.max)).contains(maxPixels) else {
      throw ValidationError("--max-pixels must be from 1 to \(UInt32.max).")
    }
  }
}

/// The tokenizer file.
struct TokenizerFile: ParsableArguments {
  @Option(help: "The SentencePiece model; found in Fixtures without this.")
  var tokenizer: String?

  func read() throws -> Tokenizer { try Tokenizer(file: path()) }

  /// As given; or of Fixtures.
  func path() throws -> String {
    try tokenizer
      ?? shared("Fixtures/tokenizer/\(Tokenizer.fileName)", what: "the tokenizer", option: "--tokenizer")
  }
}

/// A file or folder of the checkout that the program was built in or is run from, or of what `make
/// install` put beside it.
///
/// - what, option: for the error, if it is not there.
func shared(_ name: String, what: String, option: String) throws -> String {
  var executable = [CChar](repeating: 0, count: 4096)
  let length = max(0, readlink("/proc/self/exe", &executable, 4095))
  let program = String(decoding: executable[..<length].map(UInt8.init), as: UTF8.self)
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
func patterns(_ option: String?) -> [String] {
  option?.split { $0 == "," || $0 == " " }.map(String.init) ?? []
}

/// Matrices come and go: lets the allocator keep their memory rather than fetch and clear new pages for each.
func keepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30)
  mallopt(M_TRIM_THRESHOLD, 1 << 30)
}
