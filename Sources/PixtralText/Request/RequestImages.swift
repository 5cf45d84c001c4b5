import PixtralImage
import PixtralStorage

/// How the images of a request are read.
public struct ImageLoader: Sendable, Equatable {
  /// Images of more pixels are refused before they are decoded.
  public var maxPixels: Int
  /// Which files it may read.
  public var files = Files.all
  /// What remote images hold, by their URLs, or why that is not known: the loader itself fetches none.
  public var remote: [String: Result<[UInt8], InputError>] = [:]

  /// What is found where no file may be read.
  static let noFiles = "a file"

  /// Files that images of a request may be in.
  public enum Files: Sendable, Equatable {
    /// Whatever the process may read.
    case all
    /// None.
    case none
    /// Those below a folder, which `file://` URLs name.
    case below(FileTree)
  }

  /// - Parameter maxPixels: images of more are refused before they are decoded.
  public init(maxPixels: Int = ImageSize.usualMaxPixels) { self.maxPixels = maxPixels }

  /// - Throws: `InputError` of kind `unreadableFile`.
  fileprivate func open(_ path: String) throws(InputError) -> MappedFile {
    switch files {
    case .all: return try MappedFile(plain: path)
    case .below(let tree): return try MappedFile(path, below: tree)
    case .none:
      throw InputError(
        .unreadableFile, path, expected: "an image in a data: URL", found: Self.noFiles,
        advice: "--files DIR allows those below DIR")
    }
  }
}

/// An image of a request that can be read: its size is known, its samples are where they were.
public struct LoadedImage: Sendable, Equatable {
  /// Its size in pixels, as it was sent.
  public let size: ImageSize
  private let source: Source

  private enum Source: Equatable {
    case samples(RGBImage)
    case location(ImageLocation, place: String, ImageLoader)
  }

  /// An image that is there already.
  public init(_ rgb: RGBImage) {
    size = rgb.size
    source = .samples(rgb)
  }

  /// Decodes an image to its end, to know that it is whole, and keeps none of its samples.
  ///
  /// - place: names a `data:` image in errors; a file names itself.
  /// - Throws: `InputError` with the exception that Pillow or mistral-common raises.
  init(_ location: ImageLocation, place: String, _ loader: ImageLoader) throws(InputError) {
    size = try location.decode(place, loader, keepsSamples: false).size
    source = .location(location, place: place, loader)
  }

  /// Its colours, decoded anew: who looks at one image after another has one in memory.
  ///
  /// - Throws: `InputError` if it is no longer the image that it was.
  public func rgb() throws(InputError) -> RGBImage {
    switch source {
    case .samples(let image): return image
    case .location(let location, let place, let loader):
      let image = try location.decode(place, loader, keepsSamples: true)
      guard image.size == size else {
        throw InputError(
          .wrongImage, place, expected: "the image of \(size.width)×\(size.height) that it was",
          found: "one of \(image.size.width)×\(image.size.height)",
          advice: "do not change it while it is read")
      }
      return RGBImage(image.size, samples: image.samples)
    }
  }
}

extension ChatRequest {
  /// The files that its images are in.
  package var imageFiles: [String] {
    messages.lazy.flatMap(\.content).compactMap { chunk -> String? in
      guard case .image(let url) = chunk, !url.utf8.starts(with: "data:".utf8),
        let location = try? ImageLocation(url, place: "", folder: folder, ImageLoader())
      else { return nil }
      return switch location {
      case .file(let path), .path(let path): path
      case .data, .remote: nil
      }
    }
  }

  /// The images of the request in its order, each decoded once to know its size; or why one cannot
  /// be.
  ///
  /// Which failure a request ends with is the template's to say: it goes through the messages in
  /// their order, and an image may not be the first thing that is wrong.
  public func loadImages(_ loader: ImageLoader = ImageLoader()) -> [Result<LoadedImage, InputError>] {
    var images: [Result<LoadedImage, InputError>] = []
    for chunk in messages.lazy.flatMap(\.content) {
      switch chunk {
      case .loaded(let image): images.append(image)
      case .image(let url):
        let place = "image \(images.count)"
        images.append(
          Result { () throws(InputError) in
            try LoadedImage(
              ImageLocation(url, place: place, folder: folder, loader), place: place, loader)
          })
      default: break
      }
    }
    return images
  }
}

extension ImageLocation {
  /// Decodes the image that is there.
  ///
  /// - place: names a `data:` image in errors; a file names itself.
  /// - Throws: `InputError` with the exception that Pillow or mistral-common raises.
  fileprivate func decode(
    _ place: String, _ loader: ImageLoader, keepsSamples: Bool
  ) throws(InputError) -> (size: ImageSize, samples: [UInt8]) {
    func decoded(
      _ bytes: UnsafeRawBufferPointer, _ place: String
    ) throws(InputError) -> (size: ImageSize, samples: [UInt8]) {
      do throws(DecodingFailure) {
        return try decodeImage(bytes, maxPixels: loader.maxPixels, keepsSamples: keepsSamples)
      } catch {
        let failure = error.at(place)
        throw exception(for: error).map(failure.raised) ?? failure
      }
    }
    switch self {
    case .file(let path), .path(let path):
      let file: MappedFile
      do { file = try loader.open(path) } catch { throw error.raised(as: exception(for: error)) }
      return try file.withBytes { bytes throws(InputError) in try decoded(bytes, path) }
    case .data(let bytes), .remote(let bytes):
      return try bytes.span.withUnsafeBytes { bytes throws(InputError) in try decoded(bytes, place) }
    }
  }
}
