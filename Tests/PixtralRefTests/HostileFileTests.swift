import Foundation
import TestSupport
import Testing

/// Files of some megabytes that would take a hundred times as much, if each `{}` became an object in
/// memory. The program gets 300 MB of addresses, most of which its libraries take before it begins.
@Suite("Files made to take memory")
struct HostileFileTests {
  let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    try folder.write("params.json", smallParameters)
  }

  enum Header: String, CaseIterable {
    case objects, lists, integers, keys, tensors, longName

    var text: String {
      switch self {
      case .objects: "{\"a\":[\(list("{}", 1_500_000))]}"
      case .lists: "{\"a\":{\"dtype\":\"U8\",\"more\":[\(list("[0]", 1_100_000))]}}"
      case .integers: "{\"a\":{\"dtype\":\"U8\",\"shape\":[\(list("1", 2_000_000))],\"data_offsets\":[0,0]}}"
      case .keys: "{\"a\":{\(members("0", 450_000))}}"
      case .tensors: "{\(members("{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", 75_000))}"
      case .longName: "{\"\(String(repeating: "x", count: 4_500_000))\":{}}"
      }
    }
  }

  @Test("A header is refused in little memory", arguments: Header.allCases)
  func headers(header: Header) throws {
    try folder.write("consolidated.safetensors", TensorFile.bytes(header: header.text, data: []))
    #expect(try run("checkpoint", "inspect", folder.path) == 2)
  }

  @Test("A params.json is refused in little memory")
  func parameters() throws {
    try folder.write("params.json", Header.objects.text)
    #expect(try run("checkpoint", "inspect", folder.path) == 2)
  }

  @Test("An index is refused in little memory")
  func index() throws {
    try folder.write("a", TensorFile.bytes(header: "{}", data: []))
    try folder.write("consolidated.safetensors.index.json", "{\"weight_map\":{\(members("\"a\"", 400_000))}}")
    #expect(try run("checkpoint", "inspect", folder.path) == 2)
  }

  @Test("Tokens are read in little memory", arguments: [false, true])
  func tokens(inTrace: Bool) throws {
    let text =
      inTrace
      ? "{\"taps\":[\(list("{}", 1_500_000))],\"tokens\":[\(list("1", 500_000))]}"
      : "[\(list("1", 2_000_000))]"
    let code = try run(
      "trace", "--checkpoint", "seeded:tiny", "--tokens", folder.write("tokens.json", text), "--pixels",
      "\(folder.path)/none", "--out", "\(folder.path)/out")
    #expect(code == 2)
  }

  private func run(_ arguments: String...) throws -> Int32 {
    let process = Process()
    let program = try #require(program(arguments).executableURL?.path)
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "ulimit -v 300000; exec \"$@\"", "sh", program] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(["OPENBLAS_NUM_THREADS": "1"]) { $1 }
    (process.standardOutput, process.standardError) = (FileHandle.nullDevice, FileHandle.nullDevice)
    try process.run()
    process.waitUntilExit()
    return process.terminationReason == .exit ? process.terminationStatus : -1
  }
}

private func list(_ element: String, _ count: Int) -> String {
  String(repeating: element + ",", count: count - 1) + element
}

/// Members of an object, each under a key of its own.
private func members(_ value: String, _ count: Int) -> String {
  var text = ""
  for n in 0..<count { text += "\(n == 0 ? "" : ",")\"\(n)\":\(value)" }
  return text
}
