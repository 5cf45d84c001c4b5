import PixtralImage
import PixtralStorage

/// How the images of a request are read.
public struct ImageLoader: Sendable {
  /// Images of more pixels are refused before they are decoded.
  public var maxPixels: Int
  /// Whether an image's samples are kept. For tokens its size is enough.
  public var keepsSamples: Bool

  /// - Parameters:
  ///   - maxPixels: images of more are refused before they are decoded.
  ///   - keepsSamples: whether an image's samples are kept.
  public init(maxPixels: Int = ImageSize.usualMaxPixels, keepsSamples: Bool = true) {
    self.maxPixels = maxPixels
    self.keepsSamples = keepsSamples
  }
}

/// An image of a request.
public struct LoadedImage: Sendable, Equatable {
  /// Its size in pixels, as it was sent.
  public let size: ImageSize
  private let samples: RGBImage?

  /// Its colours. The image must have been loaded with them (`ImageLoader.keepsSamples`).
  public var rgb: RGBImage {
    guard let samples else { preconditionFailure("an image that was loaded for its size alone") }
    return samples
  }

  /// An image that is there already.
  public init(_ rgb: RGBImage) {
    size = rgb.size
    samples = rgb
  }

  init(_ size: ImageSize) {
    self.size = size
    samples = nil
  }
}

extension ChatRequest {
  /// The files that its images are in.
  package var imageFiles: [String] {
    messages.lazy.flatMap(\.content).compactMap { chunk -> String? in
      guard case .image(let url) = chunk, !url.utf8.starts(with: "data:".utf8),
        let location = try? ImageLocation(url, place: "", folder: folder)
      else { return nil }
      return switch location {
      case .file(let path), .path(let path): path
      case .data: nil
      }
    }
  }

  /// The images of the request in its order, each decoded once; or why one cannot be.
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
            try loader.load(ImageLocation(url, place: place, folder: folder), place: place)
          })
      default: break
      }
    }
    return images
  }
}

extension ImageLoader {
  /// Decodes an image.
  ///
  /// - place: names a `data:` image in errors; a file names itself.
  /// - Throws: `InputError` with the exception that Pillow or mistral-common raises.
  func load(_ location: ImageLocation, place: String) throws(InputError) -> LoadedImage {
    do throws(InputError) {
      switch location {
      case .file(let path), .path(let path):
        return try MappedFile(path).withBytes { bytes throws(InputError) in try load(bytes, place: path) }
      case .data(let bytes):
        return try bytes.span.withUnsafeBytes { bytes throws(InputError) in try load(bytes, place: place) }
      }
    } catch {
      throw error.raised(as: location.exception(for: error))
    }
  }

  private func load(_ bytes: UnsafeRawBufferPointer, place: String) throws(InputError) -> LoadedImage {
    if keepsSamples {
      return LoadedImage(try RGBImage(decoding: bytes, place: place, maxPixels: maxPixels))
    }
    return LoadedImage(try ImageSize(decoding: bytes, place: place, maxPixels: maxPixels))
  }
}
