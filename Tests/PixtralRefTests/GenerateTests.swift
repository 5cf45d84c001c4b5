import Foundation
import PixtralStorage
import TestSupport
import Testing

@Suite("generate")
struct GenerateTests {
  let folder: TemporaryFolder
  let request = "\(fixtures)/cases/model/tiny/text/request.json"

  init() throws { folder = try TemporaryFolder() }

  private func run(_ arguments: String...) throws -> (code: Int32, out: String, error: String) {
    try outcome(of: program(["generate"] + arguments))
  }

  private func answer(_ arguments: String...) throws -> JSON {
    let result = try outcome(of: program(["generate", "--json", "--request", request] + arguments))
    #expect(result.code == 0, "\(result.error)")
    return try JSON(parsing: result.out, place: "stdout")
  }

  @Test("The answer is text on standard output, and a pipe sees nothing else")
  func text() throws {
    let result = try run("--request", request, "--max-tokens", "8")
    #expect(result.code == 0)
    #expect(result.out == "\(try answer("--max-tokens", "8")["text"]?.string ?? "")\n")
    #expect(result.error.isEmpty)
  }

  @Test("--json gives text, tokens, logprobs, why it ended, and how many tokens there were")
  func json() throws {
    let json = try answer("--max-tokens", "5")
    #expect(json["tokens"]?.integers?.count == 5)
    #expect(json["logprobs"]?.array?.count == 5)
    #expect(json["logprobs"]?.array?.allSatisfy { $0.decimal! < 0 } == true)
    #expect(json["finish_reason"]?.string == "length")
    #expect(json["usage"]?["prompt_tokens"]?.integer == 55)
    #expect(json["usage"]?["completion_tokens"]?.integer == 5)
    #expect(json["usage"]?["total_tokens"]?.integer == 60)
    #expect(json["top_logprobs"] == nil && json["tool_calls"] == nil)
  }

  @Test("--logprobs gives the likeliest of each position, a greedy token first")
  func logprobs() throws {
    let json = try answer("--max-tokens", "3", "--logprobs", "4")
    let best = try #require(json["top_logprobs"]?.array)
    #expect(best.map { $0.array?.count } == [4, 4, 4])
    #expect(best.map { $0.array?[0]["token"]?.integer } == json["tokens"]?.integers)
    #expect(best.map { $0.array?[0]["logprob"] } == json["logprobs"]?.array)
  }

  @Test("The first logits are those of trace")
  func sameAsTrace() throws {
    let trace = try outcome(of: program(["trace", "--request", request, "--out", "\(folder.path)/t"]))
    let next = try JSON(parsing: trace.out, place: "stdout")["next_tokens"]?.array?.first
    let json = try answer("--max-tokens", "1")
    #expect(json["tokens"]?.integers == [try #require(next?["id"]?.integer)])
    let probability = try #require(next?["probability"]?.decimal)
    #expect(abs(exp(json["logprobs"]?.array?[0].decimal ?? 0) - probability) < 1e-6)
  }

  @Test("--force gives the log-probabilities of tokens from a file")
  func force() throws {
    let free = try answer("--max-tokens", "6", "--precision", "float64")
    let file = try folder.write("tokens.json", Array((free["tokens"] ?? .null).text().utf8))
    let forced = try answer("--force", file, "--precision", "float64")
    #expect(forced["tokens"] == free["tokens"] && forced["text"] == free["text"])
    #expect(forced["finish_reason"]?.string == "forced")
    for (a, b) in zip(forced["logprobs"]?.array ?? [], free["logprobs"]?.array ?? []) {
      #expect(abs(a.decimal! - b.decimal!) < 1e-11)
    }
  }

  @Test("What the request says of sampling holds, and an option has the last word")
  func settings() throws {
    let messages = #""messages": [{"role": "user", "content": "Count."}]"#
    let file = try folder.write("r.json", Array("{\(messages), \"max_tokens\": 2}".utf8))
    func count(_ arguments: String...) throws -> Int? {
      let result = try outcome(of: program(["generate", "--json", "--request", file] + arguments))
      return try JSON(parsing: result.out, place: "stdout")["usage"]?["completion_tokens"]?.integer
    }
    #expect(try count() == 2)
    #expect(try count("--max-tokens", "3") == 3)
  }

  @Test("A request's temperature, top_p and random_seed are those of the options")
  func sampledByRequest() throws {
    let messages = #""messages": [{"role": "user", "content": "Count."}]"#
    let plain = try folder.write("plain.json", Array("{\(messages)}".utf8))
    func tokens(_ file: String, _ arguments: String...) throws -> [Int] {
      let result = try outcome(
        of: program(["generate", "--json", "--max-tokens", "6", "--request", file] + arguments))
      return try #require(JSON(parsing: result.out, place: "stdout")["tokens"]?.integers)
    }
    let sampling = #""temperature": 0.9, "top_p": 0.8, "random_seed": 5"#
    let sampled = try folder.write("sampled.json", Array("{\(messages), \(sampling)}".utf8))
    let expected = try tokens(plain, "--temperature", "0.9", "--top-p", "0.8", "--seed", "5")
    #expect(try tokens(sampled) == expected)
    // Each of the three tells: without one the answer is another.
    for option in [["--temperature", "0.4"], ["--top-p", "0.01"], ["--seed", "6"]] {
      #expect(try tokens(sampled, option[0], option[1]) != expected, "\(option)")
    }
  }

  @Test("A request in OpenAI's form has its seed and its temperature there")
  func openAIForm() throws {
    let messages = #""messages": [{"role": "user", "content": "Count.", "name": "me"}]"#
    let sampling = #""temperature": 1, "seed": 5, "max_tokens": 4"#
    let theirs = try folder.write("o.json", Array("{\(messages), \(sampling)}".utf8))
    let ours = try folder.write(
      "m.json", Array(#"{"messages": [{"role": "user", "content": "Count."}]}"#.utf8))
    let found = try run("--json", "--form", "openai", "--request", theirs)
    #expect(found.code == 0, "\(found.error)")
    let expected = try run(
      "--json", "--request", ours, "--temperature", "1", "--seed", "5", "--max-tokens", "4")
    #expect(found.out == expected.out)
  }

  @Test("One seed gives one answer, another seed another")
  func seeds() throws {
    let sampling = ["--temperature", "1", "--max-tokens", "6", "--seed"]
    func tokens(_ seed: String) throws -> [Int]? {
      let result = try outcome(of: program(["generate", "--json", "--request", request] + sampling + [seed]))
      return try JSON(parsing: result.out, place: "stdout")["tokens"]?.integers
    }
    #expect(try tokens("1") == tokens("1"))
    #expect(try tokens("1") != tokens("2"))
  }

  @Test("The text ends before a --stop, and the tokens have it")
  func stop() throws {
    let text = try #require(try answer("--max-tokens", "8")["text"]?.string)
    let word = String(text.split(separator: " ")[2])
    let stopped = try answer("--max-tokens", "8", "--stop", word)
    #expect(stopped["finish_reason"]?.string == "stop")
    #expect(stopped["text"]?.string == String(text[..<text.range(of: word)!.lowerBound]))
  }

  @Test("Calls of tools are read, and what is no call stays text and is warned of")
  func calls() throws {
    let tokenizer = try fixtureTokenizer()
    let call = [5] + tokenizer.encode(#"[{"name": "f", "arguments": {"x": 1}}]"#) + [2]
    let file = try folder.write("call.json", Array("\(call)".utf8))
    let json = try answer("--force", file)
    #expect(json["text"]?.string == "")
    #expect(json["tool_calls"]?.array?[0]["function"]?["name"]?.string == "f")
    #expect(json["tool_calls"]?.array?[0]["function"]?["arguments"]?.string == #"{"x": 1}"#)
    let broken = try folder.write("broken.json", Array("\([5] + tokenizer.encode("[{"))".utf8))
    #expect(try answer("--force", broken)["tool_calls_problem"]?.string?.contains("[TOOL_CALLS]") == true)
    #expect(try run("--request", request, "--force", broken).error.contains("warning: the answer's calls"))
  }

  @Test("A system prompt comes first, with its fields filled in")
  func systemPrompt() throws {
    let file = try folder.write("system.txt", Array("{name} {today}".utf8))
    let plain = try answer("--max-tokens", "1")["usage"]?["prompt_tokens"]?.integer
    let filled = try answer(
      "--max-tokens", "1", "--system-prompt", file, "--today", "2024-11-18", "--name", "Pixtral")
    // mistral-common's count of the request with the text "Pixtral 2024-11-18" in front.
    #expect(filled["usage"]?["prompt_tokens"]?.integer == plain.map { $0 + 17 })
  }

  @Test(
    "Wrong options are wrong usage",
    arguments: [
      ["--max-tokens", "0"], ["--temperature=-1"], ["--temperature", "nan"], ["--temperature", "inf"],
      ["--top-p", "1.1"], ["--top-p=-0.1"], ["--top-p", "nan"], ["--seed=-1"],
      ["--seed", "18446744073709551616"], ["--stop", ""], ["--logprobs=-1"], ["--logprobs", "1001"],
      ["--today", "2024-11-18"],
      ["--name", "Pixtral"], ["--force", "-", "--system-prompt", "-"],
      ["--system-prompt", "x", "--today", "2024-02-30"], ["--force", "x", "--seed", "1"],
    ])
  func usage(arguments: [String]) throws {
    let result = try outcome(of: program(["generate", "--request", request] + arguments))
    #expect(result.code == 64)
    #expect(result.out.isEmpty)
  }

  @Test("What says why an answer broke off begins a line of its own")
  func brokenOff() throws {
    let token = try #require(try answer("--max-tokens", "1")["tokens"]?.integers?.first)
    let path = "\(folder.path)/tiny"
    _ = try outcome(
      of: program(["checkpoint", "write", "seeded:tiny", "--layout", "mistral", "--out", path]))
    // The first token of the answer is embedded as no number.
    let weights = "\(path)/consolidated.safetensors"
    let table = try #require(try Safetensors(weights).tensors.first { $0.name == "tok_embeddings.weight" })
    var bytes = try Data(contentsOf: URL(fileURLWithPath: weights))
    let at = table.range.lowerBound + token * table.shape[1] * 2
    bytes.replaceSubrange(at..<at + 2, with: [0xc0, 0x7f])
    try bytes.write(to: URL(fileURLWithPath: weights))
    let result = try run("--checkpoint", path, "--request", request, "--max-tokens", "3")
    #expect(result.code == 2)
    #expect(result.out == "\(try answer("--max-tokens", "1")["text"]?.string ?? "")\n")
    #expect(result.error.hasPrefix("Error: logits for position 56: expected finite numbers, found nan"))
  }

  @Test("A file of tokens that is none is refused in a sentence")
  func wrongTokens() throws {
    let file = try folder.write("tokens.json", Array("[3, 99999]".utf8))
    let result = try run("--request", request, "--force", file)
    #expect(result.code == 2)
    #expect(result.error == "Error: token 1 of the answer: expected an id from 0 to 32767, found 99999\n")
  }
}
