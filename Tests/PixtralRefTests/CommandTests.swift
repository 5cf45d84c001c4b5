import Foundation
import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import pixtral_ref

/// The program itself: exit codes, streams, and what is left on disk.
@Suite("Commands")
struct CommandTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func run(_ arguments: String...) throws -> (code: Int32, out: String, error: String) {
    try outcome(of: program(arguments))
  }

  @Test("trace writes a whole trace, JSON on stdout, a table on stderr")
  func trace() throws {
    let result = try run(
      "trace", "--request", "\(fixtures)/cases/model/tiny/image/request.json", "--out", "\(folder.path)/out")
    #expect(result.code == 0)
    #expect(try JSON(parsing: result.out, place: "stdout")["taps"]?.integer == 83)
    #expect(result.error.contains("most likely next tokens"))
    #expect(!result.error.contains("\u{1b}"), "no progress in a pipe")
    let summary = try JSON(file: "\(folder.path)/out/trace.json")
    #expect(summary["precision"]?.string == "float32")
    #expect(summary["taps"]?.array?.count == 83)
    #expect(summary["next_tokens"]?.array?.count == 5)
  }

  @Test("Two runs of one request agree, and another request does not")
  func compare() throws {
    let (a, b, c) = ("\(folder.path)/a", "\(folder.path)/b", "\(folder.path)/c")
    let request = "\(fixtures)/cases/model/tiny/small-rgba/request.json"
    _ = try run("trace", "--request", request, "--out", a)
    _ = try run("trace", "--request", request, "--precision", "float64", "--out", b)
    _ = try run("trace", "--request", "\(fixtures)/cases/model/tiny/text/request.json", "--out", c)
    #expect(try run("compare", b, a).code == 0)
    #expect(try run("compare", b, "\(folder.path)/none").code == 2)
    let json = try run("compare", b, c, "--json")
    #expect(json.code == 1)
    let verdict = try JSON(parsing: json.out, place: "stdout")
    #expect(verdict["first_divergence"]?.string == "decoder.embeddings")
    #expect(verdict["missing"]?.array?.first?.string == "vision.patch_conv")
  }

  @Test("A checkpoint that is none is refused though all is close, and so is another model's")
  func compareWeights() throws {
    let trace = "\(folder.path)/a"
    _ = try run("trace", "--request", "\(fixtures)/cases/model/tiny/text/request.json", "--out", trace)
    #expect(try run("compare", trace, trace, "--checkpoint", "seeded:tiny").code == 0)
    for wrong in ["none", "seeded:pixtral-large"] {
      let result = try run("compare", trace, trace, "--checkpoint", wrong)
      #expect(result.code == 2)
      #expect(result.out.isEmpty)
    }
  }

  @Test("No name in a file forges a line of compare's answer")
  func forgedVerdict() throws {
    var (reference, candidate) = (TensorFile(), TensorFile())
    let name = #"a\n\nall 83 taps are close"#
    reference.add(name, [1], [1])
    candidate.add(name, [1], [2])
    reference.add("logits", [1], [1])
    candidate.add(#"b\n\nall 83 taps are close"#, [1], [2])
    candidate.add("logits", [1], [1])
    let (e, a) = ("\(folder.path)/e.safetensors", "\(folder.path)/a.safetensors")
    try folder.write("e.safetensors", reference.bytes)
    try folder.write("a.safetensors", candidate.bytes)
    for answer in [try run("compare", e, a), try run("compare", e, e), try run("compare", a, e)] {
      #expect(!answer.out.split(separator: "\n").contains("all 83 taps are close"))
    }
  }

  @Test("A refused input exits with 2, says one sentence and writes nothing")
  func refused() throws {
    try folder.write(
      "request.json",
      #"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "none.png"}]}]}"#)
    let result = try run("trace", "--request", "\(folder.path)/request.json", "--out", "\(folder.path)/out")
    #expect(result.code == 2)
    #expect(result.out.isEmpty)
    #expect(
      result.error
        == "Error: \(folder.path)/none.png: expected a readable file, found No such file or directory\n")
    #expect(folder.contents == ["request.json"])
  }

  @Test("A run that is refused leaves an older trace as it was")
  func olderTraceStays() throws {
    let out = "\(folder.path)/out"
    let request = "\(fixtures)/cases/model/tiny/small-rgba/request.json"
    _ = try run("trace", "--request", request, "--out", out)
    let before = try bytes(of: "\(out)/trace.json")
    #expect(try run("trace", "--request", request, "--taps", "nothing", "--out", out).code == 2)
    #expect(try bytes(of: "\(out)/trace.json") == before)
  }

  @Test("image gives a line a file and exits with 2 if one is refused")
  func image() throws {
    let result = try run("image", "\(fixtures)/images/chelsea.png", "\(fixtures)/requests/photo.json")
    let lines = try result.out.split(separator: "\n").map { try JSON(parsing: String($0), place: "stdout") }
    #expect(result.code == 2)
    #expect(lines[0]["columns"]?.integer == 29)
    #expect(lines[0]["tokens"]?.integer == 19 * 30)
    #expect(lines[1]["error"]?["type"]?.string == "wrongImage")
  }

  @Test("image draws no preview of two files, nor over the image itself, nor over its pixels")
  func previewArguments() throws {
    let image = try folder.write("a.png", bytes(of: "\(fixtures)/images/model-alpha.png"))
    let out = "\(folder.path)/p.png"
    #expect(try run("image", image, image, "--preview", out).code == 64)
    #expect(try run("image", image, "--preview", "\(folder.path)/./a.png").code == 64)
    #expect(try run("image", image, "--pixels", out, "--preview", out).code == 64)
    #expect(try run("image", image, "--pixels", out, "--preview", "\(folder.path)/./p.png").code == 64)
    #expect(folder.contents == ["a.png"])
    #expect(try run("image", image, "--preview", out).code == 0)
    #expect(folder.contents == ["a.png", "p.png"])
  }

  @Test("image writes nothing if a file is refused")
  func refusedPreview() throws {
    let broken = try folder.write("a.png", "no image")
    let result = try run(
      "image", broken, "--preview", "\(folder.path)/p.png", "--pixels", "\(folder.path)/p.safetensors")
    #expect(result.code == 2)
    #expect(folder.contents == ["a.png"])
  }

  @Test(
    "image, tokens and trace warn of an image that lies on its side", arguments: ["image", "tokens", "trace"])
  func orientation(command: String) throws {
    let turned = try #require(try suite("image/rgb/jpeg").first { $0.id.hasSuffix("smooth-turned") })
    let image = try folder.write("turned.jpg", turned.file)
    let request = try folder.write(
      "request.json",
      #"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "turned.jpg"}]}]}"#)
    let result =
      switch command {
      case "image": try run("image", image)
      case "tokens": try run("tokens", "--request", request)
      default:
        try run("trace", "--request", request, "--out", "\(folder.path)/out", "--until", "vision.patch_conv")
      }
    #expect(result.code == 0)
    #expect(result.error.contains("EXIF notes orientation 6, which is not applied"))
  }

  @Test("tokens prints tokens, text and images")
  func tokens() throws {
    let result = try run("tokens", "--request", "\(fixtures)/cases/model/tiny/small-rgba/request.json")
    let golden = try ModelCase("small-rgba")
    let line = try JSON(parsing: result.out, place: "stdout")
    #expect(line["tokens"] == golden.expect["tokens"])
    #expect(line["text"] == golden.expect["text"])
    #expect(line["images"] == golden.expect["grids"])
  }

  @Test("tokens --jsonl answers each line in its order, a wrong one with an error, and goes on")
  func lines() throws {
    let process = try program(["tokens", "--jsonl"])
    let (input, output) = (Pipe(), Pipe())
    (process.standardInput, process.standardOutput) = (input, output)
    try process.run()
    func ask(_ line: [UInt8]) throws -> JSON {
      input.fileHandleForWriting.write(Data(line + [UInt8(ascii: "\n")]))
      // One line is answered before the next is sent: a program may ask one by one.
      var answer = Data()
      while answer.last != UInt8(ascii: "\n") { answer += output.fileHandleForReading.availableData }
      return try JSON(parsing: String(decoding: answer, as: UTF8.self), place: "stdout")
    }
    #expect(try ask(Array(#"{"id": "a", "text": "Hello"}"#.utf8))["tokens"]?.integers == [23325])
    #expect(try ask(Array("nonsense".utf8))["line"] == .integer(2))
    #expect(try ask([0x22, 0xff, 0x22])["error"]?["type"] == .string("UnicodeDecodeError"))
    #expect(
      try ask(Array(repeating: UInt8(ascii: "["), count: 10_000))["error"]?["type"]
        == .string("RecursionError"))
    #expect(
      try ask(Array(#"{"id": 5, "request": {"messages": []}}"#.utf8))["error"]?["type"]
        == .string("InvalidMessageStructureException"))
    let long = #"{"id": 6, "text": "\#(String(repeating: "a b", count: 300_000))"}"#
    #expect(try ask(Array(long.utf8))["tokens"]?.array?.count ?? 0 > 300_000)
    #expect(try ask(Array(#"{"id": 7, "tokens": [1, 23325]}"#.utf8))["text"] == .string("Hello"))
    input.fileHandleForWriting.closeFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }

  @Test("tokens --text and --fim answer one question")
  func questions() throws {
    #expect(try run("tokens", "--text", "Hello").out == #"{"tokens":[23325],"pieces":["▁Hello"]}"# + "\n")
    let file = try folder.write("fim.json", #"{"prompt": "a"}"#)
    #expect(
      try run("tokens", "--fim", file).out == #"{"tokens":[1,13,11,1032],"text":"<s>[SUFFIX][PREFIX]▁a"}"#
        + "\n")
  }

  @Test("tokens --as renders as another release does")
  func asRelease() throws {
    let image = "\(fixtures)/images/model-alpha.png"
    let chunks = [image, "\(fixtures)/images/model-left.jpg"].map {
      #"{"type": "image_url", "image_url": "\#($0)"}"#
    }
    let request = try folder.write(
      "two.json", #"{"messages": [{"role": "user", "content": [\#(chunks.joined(separator: ","))]}]}"#)
    let then = try JSON(parsing: run("tokens", "--request", request, "--as", "1.8.0").out, place: "stdout")
    let now = try JSON(parsing: run("tokens", "--request", request).out, place: "stdout")
    #expect(then["images"]?.array?.reversed() == now["images"]?.array)
  }

  @Test("checkpoint inspect names every tensor")
  func inspect() throws {
    let result = try run("checkpoint", "inspect", smallCheckpoint(in: folder))
    #expect(try JSON(parsing: result.out, place: "stdout")["tensors"]?.array?.count == 25)
  }

  @Test("checkpoint write makes both layouts, with the tokenizer", arguments: ["mistral", "hf"])
  func write(layout: String) throws {
    let out = "\(folder.path)/\(layout)"
    #expect(try run("checkpoint", "write", "seeded:tiny", "--layout", layout, "--out", out).code == 0)
    let names = try FileManager.default.contentsOfDirectory(atPath: out).sorted()
    let expected =
      layout == "mistral"
      ? ["consolidated.safetensors", "params.json", "tokenizer.model.v7m1"]
      : [
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer.model",
        "tokenizer.model.v7m1", "tokenizer_config.json",
      ]
    #expect(names == expected)
  }
}
