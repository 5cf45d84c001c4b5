import Foundation
import TestSupport
import Testing

/// Files of some megabytes that would take a hundred times as much, if each `{}` became an object in
/// memory. The program gets 300 MB of addresses, most of which its libraries take before it begins, and must
/// still find what is wrong with the file.
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

  /// What is wrong with it.
  private static let faults: [Header: String] = [
    .objects: "tensor a: expected an object of dtype, shape and two data_offsets, found [",
    .lists: "tensor a: expected an object of dtype, shape and two data_offsets, found {",
    .integers: "tensor a: expected at most 64 dimensions, found more",
    .keys: "tensor a: expected an object of dtype, shape and two data_offsets, found {",
    .tensors: "tensor 0: expected a dtype of BF16, F16, F32, F64, found U8",
    .longName: "expected an object of dtype, shape and two data_offsets, found {",
  ]

  @Test("A header is refused in little memory", arguments: Header.allCases)
  func headers(header: Header) throws {
    try folder.write("consolidated.safetensors", TensorFile.bytes(header: header.text, data: []))
    let fault = try #require(Self.faults[header])
    #expect(try run("checkpoint", "inspect", folder.path).contains(fault))
  }

  @Test("A params.json is refused in little memory")
  func parameters() throws {
    try folder.write("params.json", Header.objects.text)
    #expect(try run("checkpoint", "inspect", folder.path).contains("expected at most 1048576 bytes of JSON"))
  }

  @Test("An index is refused in little memory")
  func index() throws {
    try folder.write("a", TensorFile.bytes(header: "{}", data: []))
    try folder.write("consolidated.safetensors.index.json", "{\"weight_map\":{\(members("\"a\"", 400_000))}}")
    #expect(
      try run("checkpoint", "inspect", folder.path).contains(
        "tensor 0: expected it in a, found no such tensor"))
  }

  @Test("Tokens are read in little memory", arguments: [false, true])
  func tokens(inTrace: Bool) throws {
    let text =
      inTrace
      ? "{\"taps\":[\(list("{}", 1_500_000))],\"tokens\":[\(list("1", 500_000))]}"
      : "[\(list("1", 2_000_000))]"
    let error = try run(
      "trace", "--checkpoint", "seeded:tiny", "--tokens", folder.write("tokens.json", text), "--pixels",
      "\(folder.path)/none", "--out", "\(folder.path)/out")
    #expect(error.contains("\(folder.path)/none: expected a readable file"))
  }

  /// What the program says as it refuses its arguments.
  private func run(_ arguments: String...) throws -> String {
    let process = Process()
    let program = try #require(program(arguments).executableURL?.path)
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "ulimit -v 300000; exec \"$@\"", "sh", program] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(["OPENBLAS_NUM_THREADS": "1"]) { $1 }
    let error = Pipe()
    (process.standardOutput, process.standardError) = (FileHandle.nullDevice, error)
    try process.run()
    let text = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationReason == .exit && process.terminationStatus == 2)
    return text
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
