import Foundation
import Testing

/// What a line of shell commands gives, in which `$0` is the program.
///
/// - folder: where it runs.
func shell(_ line: String, in folder: String) throws -> (code: Int32, out: String, error: String) {
  let process = try program([])
  let binary = try #require(process.executableURL?.path)
  process.executableURL = URL(fileURLWithPath: "/bin/bash")
  process.arguments = ["-c", line, binary]
  process.currentDirectoryURL = URL(fileURLWithPath: folder)
  process.standardInput = FileHandle.nullDevice
  return try outcome(of: process)
}
