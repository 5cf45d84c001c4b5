import Glibc

/// A file whose bytes are in memory only while they are looked at.
package final class MappedFile: @unchecked Sendable {
  package let path: String
  /// The file's bytes, there as long as this object: `withBytes` is for whoever does not keep it.
  package let bytes: UnsafeRawBufferPointer

  /// - Throws: `InputError` of kind `unreadableFile`.
  package init(_ path: String) throws(InputError) {
    func refuse(_ found: String) -> InputError {
      InputError(.unreadableFile, path, expected: "a readable file", found: found)
    }
    // Without O_NONBLOCK a pipe would be waited for.
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw refuse(systemMessage()) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw refuse(systemMessage()) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw refuse("something that is no plain file") }
    self.path = path
    let count = Int(status.st_size)
    if count == 0 {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    guard let start = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
      throw refuse(systemMessage())
    }
    bytes = UnsafeRawBufferPointer(start: start, count: count)
  }

  deinit {
    if let start = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: start), bytes.count) }
  }

  /// Calls a function with the file's bytes, which stay where they are until it returns.
  package func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    defer { extendLifetime(self) }
    return try body(bytes)
  }

  /// Gives the memory of a range back; the bytes are read from the file again when next looked at.
  package func forget(_ range: Range<Int>) {
    let page = Int(getpagesize())
    let first = (range.lowerBound + page - 1) / page * page
    let end = range.upperBound / page * page
    guard first < end, let start = bytes.baseAddress else { return }
    madvise(UnsafeMutableRawPointer(mutating: start + first), end - first, MADV_DONTNEED)
  }
}
