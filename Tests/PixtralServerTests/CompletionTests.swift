import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralReference
@testable import PixtralServer

/// What is made of answers that no seeded model gives.
@Suite("Completions")
struct CompletionTests {
  let tokenizer: Tokenizer

  init() throws { tokenizer = try fixtureTokenizer() }

  private func completion(_ keys: String = "") throws -> Completion {
    var text = """
      {"messages": [{"role": "user", "content": "Hello"}],
       "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]\(keys)}
      """
    let request = try CompletionRequest(
      text.withUTF8 { try PythonValue(json: UnsafeRawBufferPointer($0), place: "test") })
    return Completion(request, prompt: [1, 3, 4], tokenizer, model: "m")
  }

  /// An answer of some text, perhaps calls behind it, and `</s>`.
  private func answer(_ text: String, calls: String? = nil, ends: Bool = true) throws -> Answer {
    let ids =
      tokenizer.encode(text) + (calls.map { [5] + tokenizer.encode($0) } ?? []) + (ends ? [2] : [])
    return Answer(
      promptTokens: 3,
      tokens: ids.map { Answer.Token(id: $0, logProbability: -0.5, rank: 1, best: []) },
      text: try tokenizer.decode(ids), finish: ends ? .stop : .length)
  }

  private static let call = #"[{"name": "f", "arguments": {"a": 1}, "id": "abcdefghi"}]"#

  private func choice(_ answer: JSON) throws -> JSON { try #require(answer["choices"]?.array?.first) }

  @Test("Calls come beside the text before them, and end the answer")
  func calls() throws {
    let choice = try choice(completion().whole(answer("Well", calls: Self.call)))
    #expect(choice["message"]?["content"] == "Well" && choice["finish_reason"] == "tool_calls")
    let call = try #require(choice["message"]?["tool_calls"]?.array?.first)
    #expect(call["id"] == "abcdefghi" && call["type"] == "function")
    #expect(call["function"]?["name"] == "f" && call["function"]?["arguments"] == #"{"a": 1}"#)
  }

  @Test("Calls alone have null for content")
  func callsAlone() throws {
    let message = try choice(completion().whole(answer("", calls: Self.call)))["message"]
    #expect(message?["content"] == .null && message?["tool_calls"]?.array?.count == 1)
  }

  @Test("A call without an id, or with one that no next turn could name, gets one that is the same each time")
  func callID() throws {
    for id in ["", #", "id": "null""#, #", "id": "abc""#] {
      let answer = try answer(
        "", calls: #"[{"name": "f", "arguments": {}\#(id)}, {"name": "f", "arguments": {}}]"#)
      let ids = try (0..<2).map { _ in
        try #require(
          try choice(completion().whole(answer))["message"]?["tool_calls"]?.array?.compactMap {
            $0["id"]?.string
          })
      }
      #expect(ids[0] == ids[1] && Set(ids[0]).count == 2 && ids[0].allSatisfy { $0.utf8.count == 9 })
    }
  }

  @Test("With tool_choice none, calls are text")
  func noCalls() throws {
    let choice = try choice(completion(#", "tool_choice": "none""#).whole(answer("", calls: Self.call)))
    #expect(choice["message"]?["content"] == .string(Self.call) && choice["finish_reason"] == "stop")
    #expect(choice["message"]?["tool_calls"] == nil)
  }

  @Test("Calls that are cut off are text")
  func brokenCalls() throws {
    let choice = try choice(completion().whole(answer("Well", calls: "[{\"name\"", ends: false)))
    #expect(choice["message"]?["content"]?.string?.hasPrefix("Well") == true)
    #expect(choice["finish_reason"] == "length")
  }

  @Test("The last part of a stream has the calls, each with its number")
  func streamedCalls() throws {
    let choice = try choice(completion().last(answer("Well", calls: Self.call), told: 4))
    let call = try #require(choice["delta"]?["tool_calls"]?.array?.first)
    #expect(call["index"] == 0 && call["function"]?["name"] == "f")
    #expect(choice["delta"]?["content"] == nil && choice["finish_reason"] == "tool_calls")
  }

  @Test("The last part of a stream has the text that turned out to be no calls")
  func streamedText() throws {
    let choice = try choice(completion().last(answer("Well", calls: "[{"), told: 4))
    #expect(choice["delta"]?["content"] == " [{" && choice["finish_reason"] == "stop")
  }

  @Test("Text before calls that was held back, since a stop might have begun with it, comes with them")
  func streamedBoth() throws {
    let choice = try choice(completion().last(answer("Well", calls: Self.call), told: 2))
    #expect(choice["delta"]?["content"] == "ll" && choice["delta"]?["tool_calls"]?.array?.count == 1)
  }

  @Test("Tokens are spelled with a space, and with their bytes")
  func spelling() throws {
    let whole = try completion(#", "logprobs": true"#).whole(answer("Hello \u{10348}"))
    let content = try #require(try choice(whole)["logprobs"]?["content"]?.array)
    #expect(
      content.first?["token"] == " Hello"
        && content.first?["bytes"] == [32, 72, 101, 108, 108, 111])
    // A character without a piece is written in bytes, none of which is a character.
    #expect(content.contains { $0["token"] == "\u{fffd}" && $0["bytes"] == [240] })
    #expect(content.last?["token"] == "</s>" && content.last?["bytes"] == .null)
    #expect(content.allSatisfy { $0["logprob"] == .number(-0.5) })
  }

  @Test("The tokens of a prompt come with their place among all")
  func promptLogprobs() throws {
    var answer = try answer("a")
    answer.prompt = [
      Answer.Token(id: 3, logProbability: -9, rank: 77, best: [.init(id: 5, logProbability: -1)]),
      Answer.Token(id: 4, logProbability: -2, rank: 1, best: [.init(id: 4, logProbability: -2)]),
    ]
    let told = try completion(#", "prompt_logprobs": 1"#).whole(answer)["prompt_logprobs"]?.array
    #expect(told?[0] == .null)
    #expect(told?[1]["3"]?["rank"] == 77 && told?[1]["5"]?["rank"] == 1)
    #expect(told?[1]["3"]?["decoded_token"] == "[INST]")
    #expect(told?[2].members?.count == 1)
  }

  @Test("The text at which an answer stopped is told")
  func stop() throws {
    var answer = try answer("a", ends: false)
    answer.stop = "b"
    #expect(try choice(completion().whole(answer))["stop_reason"] == "b")
  }
}

extension JSON: ExpressibleByIntegerLiteral {
  public init(integerLiteral value: Int) { self = .integer(value) }
}
