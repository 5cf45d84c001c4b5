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

/// Runs a process to its end, and gives its exit code and what it wrote.
func outcome(of process: Process) throws -> (code: Int32, out: String, error: String) {
  let (out, error) = (Pipe(), Pipe())
  (process.standardOutput, process.standardError) = (out, error)
  try process.run()
  let outText = String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  let errorText = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  return (process.terminationStatus, outText, errorText)
}
