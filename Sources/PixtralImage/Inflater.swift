import CZlib

/// zlib's way from compressed bytes to the bytes that were meant, piece by piece.
final class Inflater {
  // zlib keeps the address of its stream.
  private let stream: UnsafeMutablePointer<z_stream>

  enum State {
    /// More may come.
    case open
    /// The stream has ended, and its checksum held.
    case ended
    /// What was read is no such stream, or its checksum does not hold.
    case damaged
  }

  init() {
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    let code = inflateInit_(stream, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    precondition(code == Z_OK, "zlib starts with \(code)")
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  /// Fills `output` as far as `input` reaches.
  ///
  /// - input: loses what was read.
  /// - Returns: how many bytes were written, and how it goes on.
  func inflate(
    _ input: inout UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) -> (count: Int, state: State) {
    let offered = min(input.count, Int(UInt32.max))
    let room = min(output.count, Int(UInt32.max))
    stream.pointee.next_in = UnsafeMutablePointer(
      mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
    stream.pointee.avail_in = UInt32(offered)
    stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_out = UInt32(room)
    let code = CZlib.inflate(stream, Z_NO_FLUSH)
    input = UnsafeRawBufferPointer(rebasing: input.dropFirst(offered - Int(stream.pointee.avail_in)))
    let state: State =
      switch code {
      case Z_STREAM_END: .ended
      // The last is no error: nothing could be read or written this time.
      case Z_OK, Z_BUF_ERROR: .open
      default: .damaged
      }
    return (room - Int(stream.pointee.avail_out), state)
  }

  /// What a text of a PNG inflates to.
  enum Text {
    case whole([UInt8])
    case damaged
    /// More than the limit.
    case long
  }

  /// Inflates all of a text, or as much of it as there is.
  static func text(_ bytes: UnsafeRawBufferPointer, limit: Int) -> Text {
    var input = bytes
    var state = State.open
    // Not cleared: pages that nothing reaches cost nothing.
    let text = [UInt8](unsafeUninitializedCapacity: limit) { output, count in
      (count, state) = Inflater().inflate(&input, into: UnsafeMutableRawBufferPointer(output))
    }
    switch state {
    case .ended: return .whole(text)
    case .open: return input.isEmpty ? .whole(text) : .long
    case .damaged: return .damaged
    }
  }
}
