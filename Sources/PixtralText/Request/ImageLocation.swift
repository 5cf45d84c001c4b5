import Glibc
import PixtralImage
import PixtralStorage

/// Where a request says that an image is. Tokens.md 9.
enum ImageLocation: Equatable {
  /// Of a `file://` URL.
  case file(String)
  /// A path without any scheme, which mistral-common refuses as such.
  case path(String)
  /// The bytes of a `data:` URL.
  case data([UInt8])
  /// The bytes that an `http` URL gave.
  case remote([UInt8])

  /// Reads an image URL: `data:…;base64,…`, `file://PATH`, or a path relative to a folder, which
  /// mistral-common does not take.
  ///
  /// - loader: has the remote images that are known.
  /// - Throws: `InputError` of kind `wrongRequest`; a remote image is never fetched.
  init(_ url: String, place: String, folder: String, _ loader: ImageLoader) throws(InputError) {
    func refuse(_ expected: String, _ advice: String = "", exception: String = "ValueError") -> InputError {
      InputError(
        .wrongRequest, "\(place), image_url", expected: expected, found: shortened(url, to: 64),
        advice: advice, exception: exception)
    }
    // By scalars throughout: Swift's own words for strings go by grapheme clusters.
    let text = Substring(url).utf8
    if text.starts(with: "data:".utf8) {
      guard let bytes = dataURLPayload(text).flatMap(decodeBase64) else {
        throw refuse("data:MIME;base64,PAYLOAD with a padded payload")
      }
      self = .data(bytes)
    } else if let remote = loader.remote[url] {
      self = .remote(try remote.get())
    } else if text.isEmpty || text.contains(0) {
      throw refuse("the path of an image, without NUL")
    } else if text.starts(with: "file://".utf8) {
      self = .file(String(decoding: text.dropFirst("file://".utf8.count), as: UTF8.self))
    } else if text.contains("://".utf8) {
      guard text.starts(with: "http".utf8) else { throw refuse("a data: or file:// URL, or a path") }
      throw refuse(
        "a data: or file:// URL, or a path", "fetch the image first and give its path",
        exception: "ConnectionError")
    } else if loader.files != .all {
      throw refuse("a data: or file:// URL")
    } else {
      let path = text.first == UInt8(ascii: "/") ? url : "\(folder)/\(url)"
      if isBase64(text), access(path, F_OK) != 0 {
        throw refuse(
          "a data: or file:// URL, or a path", "if it is base64, write data:image/png;base64, in front of it")
      }
      self = .path(path)
    }
  }

  /// What mistral-common raises for an image that is no PNG and no JPEG, or a broken one; nil where
  /// it reads what is refused here.
  func exception(for failure: DecodingFailure) -> String? {
    switch self {
    case .path: "ValueError"
    case .file: failure.exception
    // It wraps what goes wrong while it opens an image, but not what goes wrong while it draws one.
    case .data: failure.kind == .brokenImage ? failure.exception : failure.exception.map { _ in "ValueError" }
    case .remote:
      failure.kind == .brokenImage ? failure.exception : failure.exception.map { _ in "ImageDecodeException" }
    }
  }

  /// What Python's `open` raises for a file that cannot be read.
  func exception(for error: InputError) -> String {
    guard case .file = self else { return "ValueError" }
    return switch error.found {
    case systemMessage(ENOENT): "FileNotFoundError"
    case systemMessage(EACCES), systemMessage(EPERM), FileTree.leadsOut, ImageLoader.noFiles:
      "PermissionError"
    case systemMessage(ENOTDIR): "NotADirectoryError"
    case "a folder": "IsADirectoryError"
    // Python reads it, and finds no image in what a device gives.
    case "something that is no plain file": "UnidentifiedImageError"
    default: "OSError"
    }
  }
}

/// Whether a text may be base64 of an image, which is longer than most paths and holds no point.
private func isBase64(_ text: Substring.UTF8View) -> Bool {
  text.count >= 64
    && text.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"), UInt8(ascii: "="),
        UInt8(ascii: "\n"), UInt8(ascii: "\r"):
        true
      default: false
      }
    }
}

/// What stands behind the comma of a `data:` URL in base64; nil if it is no such URL. Tokens.md 9.2.
func dataURLPayload(_ url: Substring.UTF8View) -> Substring.UTF8View? {
  guard let comma = url.firstIndex(of: UInt8(ascii: ",")),
    url[..<comma].suffix(7).elementsEqual(";base64".utf8), case let payload = url[comma...].dropFirst(),
    !payload.isEmpty
  else { return nil }
  return payload
}

/// Base64 as Python's `b64decode` reads it: characters outside of the alphabet do not count, and
/// nothing is read behind the padding.
///
/// - Returns: nil if the padding is not there, or a character is not ASCII.
func decodeBase64(_ text: Substring.UTF8View) -> [UInt8]? {
  guard text.allSatisfy({ $0 < 0x80 }) else { return nil }
  var bytes: [UInt8] = []
  bytes.reserveCapacity(text.count / 4 * 3)
  var bits: UInt32 = 0
  var (digits, pads) = (0, 0)
  for byte in text {
    let digit: UInt8
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): digit = byte - UInt8(ascii: "A")
    case UInt8(ascii: "a")...UInt8(ascii: "z"): digit = byte - UInt8(ascii: "a") + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0") + 52
    case UInt8(ascii: "+"): digit = 62
    case UInt8(ascii: "/"): digit = 63
    case UInt8(ascii: "="):
      pads += 1
      if digits >= 2 && digits + pads >= 4 { return bytes }
      continue
    default: continue
    }
    pads = 0
    bits = bits << 6 | UInt32(digit)
    digits += 1
    if digits > 1 { bytes.append(UInt8(truncatingIfNeeded: bits >> (8 - 2 * UInt32(digits)))) }
    if digits == 4 { digits = 0 }
  }
  return digits == 0 ? bytes : nil
}
