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

  @Test("SIGTERM does not wait for the rest of a body: it is refused with 503")
  func halfBody() throws {
    let process = try program(["serve", "--port", "0"])
    let out = Pipe()
    process.standardOutput = out
    try process.run()
    let line = String(decoding: out.fileHandleForReading.availableData, as: UTF8.self)
    let port = try #require(line.firstMatch(of: #/127\.0\.0\.1:(\d+) /#)?.1)
    let client = Process()
    client.executableURL = URL(fileURLWithPath: "/bin/bash")
    client.arguments = [
      "-c",
      """
      exec 3<>/dev/tcp/127.0.0.1/\(port)
      printf 'POST /tokenize HTTP/1.1\\r\\nHost: a\\r\\nContent-Type: application/json\\r\\n' >&3
      printf 'Content-Length: 9\\r\\n\\r\\n{' >&3
      sleep 1; kill -TERM \(process.processIdentifier); cat <&3
      """,
    ]
    let result = try outcome(of: client)
    process.waitUntilExit()
    #expect(result.out.hasPrefix("HTTP/1.1 503 ") && process.terminationStatus == 0)
  }

  @Test("A host without an address is an input error")
  func noHost() throws {
    let result = try outcome(of: program(["serve", "--host", "no.such.invalid"]))
    #expect(result.code == 2 && result.error.contains("expected an address to listen at"))
  }

  @Test("More places than there can be are wrong usage")
  func places() throws {
    let result = try outcome(of: program(["serve", "--queue", "\(Int.max)"]))
    #expect(result.code == 64 && result.error.contains("--queue"))
  }
}
