import CLinux
import Glibc

/// A folder, and the plain files below it: what may be read by whoever may read nothing else.
///
/// The kernel keeps to the folder while it opens a file, so that neither `..` nor a link, made at whatever
/// moment, leads out. Its descriptor stays open.
public struct FileTree: Sendable, Equatable {
  /// The folder as it was given, and its path without links.
  private let paths: [String]
  private let descriptor: Int32

  /// - Parameter path: a folder.
  /// - Throws: `InputError` of kind `unreadableFile` if there is none, or if the kernel, older than 5.6,
  ///   cannot keep to it.
  public init(_ path: String) throws {
    descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0, let real = realpath(path, nil) else {
      throw InputError(.unreadableFile, path, expected: "a folder", found: systemMessage())
    }
    defer { free(real) }
    paths = [path, String(cString: real)]
    let probe = open_beneath(descriptor, ".")
    guard probe >= 0 else {
      throw InputError(
        .unreadableFile, path, expected: "a folder that files can be opened below", found: systemMessage(),
        advice: "Linux 5.6 and later can do it")
    }
    close(probe)
  }

  /// Opens a file for reading.
  ///
  /// - path: absolute.
  func open(_ path: String) throws(InputError) -> Int32 {
    guard let inner = inner(path), !inner.utf8.contains(0) else { throw outside(path) }
    let descriptor = open_beneath(self.descriptor, inner)
    guard descriptor >= 0 else {
      throw errno == EXDEV ? outside(path) : unreadable(path, systemMessage())
    }
    return descriptor
  }

  /// What a path says behind the folder's own; nil if it begins otherwise.
  private func inner(_ path: String) -> String? {
    for folder in paths {
      let folder = folder.utf8.last == UInt8(ascii: "/") ? folder : folder + "/"
      guard path.utf8.starts(with: folder.utf8) else { continue }
      let rest = path.utf8.dropFirst(folder.utf8.count).drop { $0 == UInt8(ascii: "/") }
      return String(decoding: rest, as: UTF8.self)
    }
    return nil
  }

  private func outside(_ path: String) -> InputError {
    InputError(
      .unreadableFile, path, expected: "a file below the folder that may be read", found: Self.leadsOut)
  }

  /// What is found where a path leads out.
  package static let leadsOut = "a path that leads out of it"
}
