import Foundation
import PixtralStorage

/// Answers lines of standard input with what the readers of JSON and safetensors make of bytes, for
/// Tools/checks/check_storage.py, which knows what Python makes of them.
///
/// A line is `json` or `safetensors` and the bytes in hexadecimal. An answer is a line: `refused`
/// and the sentence, or `read` and the value as JSON; of a safetensors file the tensors' names,
/// dtypes, shapes and data offsets.
@main
struct Readers {
  static func main() throws {
    let path = "/dev/shm/pixtral-readers.\(getpid())"
    defer { unlink(path) }
    while let line = readLine() {
      let words = line.split(separator: " ", omittingEmptySubsequences: false)
      let bytes = bytes(words[1])
      do {
        let value =
          switch words[0] {
          case "json": try bytes.withUnsafeBytes { try JSON(parsing: $0, place: "line") }
          case "safetensors":
            try {
              try Data(bytes).write(to: URL(fileURLWithPath: path))
              return try describe(Safetensors(path))
            }()
          default: fatalError("json or safetensors, not \(words[0])")
          }
        print("read \(value.text())")
      } catch let error as InputError { print("refused \(error)") }
    }
  }

  private static func describe(_ file: Safetensors) -> JSON {
    let start = file.tensors.first?.range.lowerBound ?? 0
    return .array(
      file.tensors.map { tensor in
        [
          .string(tensor.name), .string(tensor.typeName), .array(tensor.shape.map(JSON.integer)),
          .integer(tensor.range.lowerBound - start), .integer(tensor.range.upperBound - start),
        ]
      })
  }

  private static func bytes(_ digits: Substring) -> [UInt8] {
    let digits = digits.utf8.map {
      $0 <= UInt8(ascii: "9") ? $0 - UInt8(ascii: "0") : $0 - UInt8(ascii: "a") + 10
    }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
  }
}
