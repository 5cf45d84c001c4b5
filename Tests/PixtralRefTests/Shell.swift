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
  let (out, error) = (Pipe(), Pipe())
  (process.standardOutput, process.standardError) = (out, error)
  try process.run()
  let outText = String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  let errorText = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  return (process.terminationStatus, outText, errorText)
}
