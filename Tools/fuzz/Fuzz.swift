import Glibc
import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText

/// What reads strangers' bytes, one reader a run: FUZZ=png, jpeg, safetensors or json. `make fuzz` builds
/// and runs all four.
///
/// A finding is a crash, memory that is not ours, a second of work, or 256 MB. Refusals are what is expected.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = UnsafeRawBufferPointer(start: data, count: count)
  switch reader {
  case "png":
    decode(bytes)
    // Nearly every change breaks a checksum; with those mended, the reader goes on.
    withChecksums(bytes).withUnsafeBytes(decode)
  case "jpeg": decode(bytes)
  case "safetensors":
    write(bytes, to: file)
    _ = try? Prompt(tokensFile: tokens, pixelsFile: file)
  case "json":
    _ = try? JSON(parsing: bytes, place: "input")
    render(bytes)
  default: fatalError("FUZZ=png, jpeg, safetensors or json")
  }
  return 0
}

private let reader = getenv("FUZZ").map { String(cString: $0) } ?? ""

private func decode(_ bytes: UnsafeRawBufferPointer) {
  guard let image = try? RGBImage(decoding: bytes, place: "input", maxPixels: 1 << 18) else { return }
  _ = Pixels(image, rule: ImageRule(patchSize: 4, longestSide: 16))
}

/// A PNG with the checksum of each chunk as it should be.
private func withChecksums(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
  var file = Array(bytes)
  var at = 8
  while at + 12 <= file.count {
    let length = file[at..<at + 4].reduce(0) { ($0 << 8) | Int($1) }
    guard length <= file.count - at - 12 else { break }
    var crc: UInt32 = ~0
    for byte in file[at + 4..<at + 8 + length] {
      crc = (crc >> 8) ^ crcTable[Int(UInt8(truncatingIfNeeded: crc) ^ byte)]
    }
    withUnsafeBytes(of: (~crc).bigEndian) {
      file.replaceSubrange(at + 8 + length..<at + 12 + length, with: $0)
    }
    at += 12 + length
  }
  return file
}

private let crcTable: [UInt32] = (0..<256).map { byte in
  var crc = UInt32(byte)
  for _ in 0..<8 { crc = crc & 1 == 1 ? 0xedb8_8320 ^ (crc >> 1) : crc >> 1 }
  return crc
}

private let folder: String = {
  var template = Array("/dev/shm/pixtral-fuzz.XXXXXX".utf8CString)
  guard let made = mkdtemp(&template) else { fatalError("no temporary folder") }
  return String(cString: made)
}()

private let file = "\(folder)/input.safetensors"

private let tokens: String = {
  let path = "\(folder)/tokens.json"
  Array("[1]".utf8).withUnsafeBytes { write($0, to: path) }
  return path
}()

private func write(_ bytes: UnsafeRawBufferPointer, to path: String) {
  let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
  guard Glibc.write(descriptor, bytes.baseAddress, bytes.count) == bytes.count, close(descriptor) == 0 else {
    fatalError("cannot write \(path)")
  }
}

/// Takes the input for a chat request, from JSON to tokens.
private func render(_ bytes: UnsafeRawBufferPointer) {
  let loader = ImageLoader(maxPixels: 1 << 18)
  guard let value = try? PythonValue(json: bytes, place: "input"),
    let request = try? ChatRequest(value, place: "input", folder: ".", images: loader)
  else { return }
  let grids = request.loadImages(loader).map { $0.map { ImageRule.m1.grid($0.size) } }
  _ = try? template(request, grids: grids)
}

private let template = V7Template(
  tokenizer: try! Tokenizer(file: "Fixtures/tokenizer/\(Tokenizer.fileName)"))
