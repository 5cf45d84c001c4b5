import Glibc
import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText

/// What reads strangers' bytes, one reader a run: FUZZ=png, jpeg, safetensors, json, params or index. `make fuzz`
/// builds and runs all of them.
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
    look(at: file)
  case "json":
    readAndWrite(bytes)
    render(bytes)
    write(bytes, to: file)
    _ = try? Prompt(tokensFile: file)
  case "params": compute(bytes)
  case "index":
    write(bytes, to: "\(folder)/consolidated.safetensors.index.json")
    _ = try? Checkpoint(folder)
  default: fatalError("FUZZ=png, jpeg, safetensors, json, params or index")
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
  let folder = String(cString: made)
  // A checkpoint, but for its index.
  Array(tinyParameters.utf8).withUnsafeBytes { write($0, to: "\(folder)/params.json") }
  for name in ["a", "b"] {
    let header = #"{"\#(name).weight":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#
    let bytes = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian, Array.init) + Array(header.utf8)
    bytes.withUnsafeBytes { write($0, to: "\(folder)/\(name)") }
  }
  return folder
}()

private let tinyParameters = """
  {"dim":4,"n_layers":1,"head_dim":2,"hidden_dim":6,"n_heads":2,"n_kv_heads":1,"norm_eps":1e-5,"vocab_size":20,
   "rope_theta":1e6,"vision_encoder":{"hidden_size":4,"num_channels":3,"image_size":8,"patch_size":2,
   "intermediate_size":6,"num_hidden_layers":1,"num_attention_heads":2,"rope_theta":1e4,"image_token_id":10}}
  """

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

/// Asks a safetensors file for everything, and every tensor for its first value.
private func look(at path: String) {
  guard let file = try? Safetensors(path) else { return }
  _ = file.metadata
  for tensor in file.tensors {
    guard let stored = try? StoredTensor(tensor, of: file.file), !tensor.range.isEmpty else { continue }
    if !tensor.shape.isEmpty, stored.columns < 1 << 20 { _ = stored.rows(0..<1) as Matrix<Float> }
  }
}

/// What is read and written is read as the same.
private func readAndWrite(_ bytes: UnsafeRawBufferPointer) {
  guard let value = try? JSON(parsing: bytes, place: "input") else { return }
  for isIndented in [false, true] {
    precondition(try! JSON(parsing: value.text(indented: isIndented), place: "text") == value)
  }
}

/// Takes the input for a params.json, and counts the values of its model.
private func compute(_ bytes: UnsafeRawBufferPointer) {
  guard let json = try? JSON(parsing: bytes, place: "input"),
    let parameters = try? Parameters(json, place: "input")
  else { return }
  precondition(try! Parameters(parameters.json, place: "text").json == parameters.json)
  if parameters.layers + parameters.vision.layers < 100 {
    precondition(parameters.tensors.map { $0.shape.reduce(1, *) }.reduce(0, +) < Int.max / 8)
  }
}

/// Takes the input for a chat request of either form, from JSON to tokens.
private func render(_ bytes: UnsafeRawBufferPointer) {
  let loader = ImageLoader(maxPixels: 1 << 18)
  guard let value = try? PythonValue(json: bytes, place: "input") else { return }
  for form in ChatRequest.Form.allCases {
    guard
      let request = try? ChatRequest(value, place: "input", folder: ".", images: loader, form: form)
    else { continue }
    let grids = request.loadImages(loader).map { $0.map { ImageRule.m1.grid($0.size) } }
    _ = try? template(request, grids: grids)
  }
}

private let template = V7Template(
  tokenizer: try! Tokenizer(file: "Fixtures/tokenizer/\(Tokenizer.fileName)"))
