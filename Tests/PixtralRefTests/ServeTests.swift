import Foundation
import TestSupport
import Testing

@Suite("serve")
struct ServeTests {
  @Test("It starts the server beside it, with its arguments")
  func starts() throws {
    let result = try outcome(of: program(["serve", "--port", "70000"]))
    #expect(result.code == 64 && result.error.contains("--port must be from 0 to 65535"))
  }

  @Test("Its help is the server's")
  func help() throws {
    let result = try outcome(of: program(["serve", "--help"]))
    #expect(result.code == 0 && result.out.contains("POST /v1/chat/completions"))
  }

  @Test("Where there is no server, it says how to build it")
  func missing() throws {
    let folder = try TemporaryFolder()
    let process = try program(["serve"])
    let copy = URL(fileURLWithPath: "\(folder.path)/pixtral-ref")
    try FileManager.default.copyItem(at: try #require(process.executableURL), to: copy)
    process.executableURL = copy
    process.environment = ["PATH": folder.path]
    let result = try outcome(of: process)
    #expect(result.code == 2 && result.error.contains("make serve builds it"))
  }

  @Test("The first line says where it serves, and SIGTERM ends it with 0")
  func firstLine() throws {
    let process = try program(["serve", "--port", "0", "--name", "a"])
    let out = Pipe()
    process.standardOutput = out
    try process.run()
    let line = String(decoding: out.fileHandleForReading.availableData, as: UTF8.self)
    #expect(
      line.hasPrefix("http://127.0.0.1:") && line.contains(" serves seeded:tiny; try: curl http://127.0.0.1:")
    )
    process.terminate()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }
}
