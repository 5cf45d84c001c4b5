import Foundation
import Testing

/// The program that was built beside the tests, ready to run.
///
/// - folder: where it runs; nil for where the tests do.
func program(_ arguments: [String], in folder: String? = nil) throws -> Process {
  let process = Process()
  let tests = try #require(try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
  process.executableURL = URL(fileURLWithPath: tests).deletingLastPathComponent()
    .appending(path: "pixtral-ref")
  process.arguments = arguments
  if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
  return process
}
