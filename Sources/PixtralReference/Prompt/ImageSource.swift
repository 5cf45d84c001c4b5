import CCrypto

/// Where a request says that an image is.
public enum ImageSource: Sendable, Equatable {
  case file(String)
  /// The bytes of a `data:` URL.
  case data([UInt8])

  /// Reads an image URL: `data:…;base64,…`, `file://PATH`, or a path relative to a folder.
  ///
  /// - Throws: `InputError` of kind `wrongRequest`; a remote image is never fetched.
  init(_ url: String, place: String, folder: String) throws {
    let shown = url.count > 64 ? "\(url.prefix(64))…" : url
    func refuse(_ expected: String, _ advice: String = "") -> InputError {
      InputError(.wrongRequest, "\(place), image_url", expected: expected, found: shown, advice: advice)
    }
    if url.hasPrefix("data:") {
      guard let comma = url.firstIndex(of: ","), url[..<comma].hasSuffix(";base64"),
        let bytes = decodeBase64(url[url.index(after: comma)...]), !bytes.isEmpty
      else { throw refuse("data:MIME;base64,PAYLOAD with a padded payload") }
      self = .data(bytes)
    } else if url.hasPrefix("file://") {
      self = .file(String(url.dropFirst("file://".count)))
    } else if url.contains("://") {
      throw refuse("a data: or file:// URL, or a path", "fetch the image first and give its path")
    } else if url.isEmpty || url.utf8.contains(0) {
      throw refuse("the path of an image")
    } else {
      self = .file(url.hasPrefix("/") ? url : "\(folder)/\(url)")
    }
  }

  /// Decodes the image.
  ///
  /// - place: names a `data:` image in errors; a file names itself.
  func load(place: String) throws -> RGBImage {
    switch self {
    case .file(let path): try RGBImage(file: path)
    case .data(let bytes): try bytes.withUnsafeBytes { try RGBImage(decoding: $0, place: place) }
    }
  }
}

/// Standard base64 with padding, by libcrypto; nil for anything else.
private func decodeBase64(_ text: Substring) -> [UInt8]? {
  let encoded = Array(text.utf8)
  let padding = encoded.suffix(2).filter { $0 == UInt8(ascii: "=") }.count
  // EVP_DecodeBlock skips white space at the ends, which would make its count wrong.
  guard !encoded.isEmpty, encoded.count % 4 == 0, encoded.allSatisfy({ $0 > 0x20 }) else { return nil }
  var decoded = [UInt8](repeating: 0, count: encoded.count / 4 * 3)
  let count = EVP_DecodeBlock(&decoded, encoded, Int32(encoded.count))
  return count < 0 ? nil : Array(decoded.prefix(Int(count) - padding))
}
