import PixtralReference
import PixtralStorage
import PixtralText
import TestSupport
import Testing

@testable import PixtralServer

@Suite("Requests for a completion")
struct CompletionRequestTests {
  private static let messages = #""messages": [{"role": "user", "content": "Hello"}]"#

  private func read(_ keys: String) throws -> CompletionRequest {
    var text = "{\(Self.messages)\(keys.isEmpty ? "" : ", ")\(keys)}"
    return try CompletionRequest(
      text.withUTF8 { try PythonValue(json: UnsafeRawBufferPointer($0), place: "test") })
  }

  private func refused(_ keys: String, _ location: SourceLocation = #_sourceLocation) throws -> Refusal {
    let error = #expect(throws: Refusal.self, sourceLocation: location) { _ = try read(keys) }
    return try #require(error, sourceLocation: location)
  }

  @Test("What is not said is greedy, 256 tokens at most, in one piece")
  func usual() throws {
    let request = try read("")
    #expect(request.options.sampling == Sampling() && request.options.maxTokens == 256)
    #expect(!request.isStream && !request.tellsLogprobs && !request.tellsIDs && !request.readsCalls)
  }

  @Test("Settings of the choice are those of the request")
  func sampling() throws {
    let sampling = try read(#""temperature": 0.5, "top_p": 0.9, "seed": 7"#).options.sampling
    #expect(sampling == Sampling(temperature: 0.5, topP: 0.9, seed: 7))
  }

  @Test("max_completion_tokens goes before max_tokens")
  func maxTokens() throws {
    #expect(try read(#""max_tokens": 5"#).options.maxTokens == 5)
    #expect(try read(#""max_tokens": 5, "max_completion_tokens": 9"#).options.maxTokens == 9)
  }

  @Test("No tokens at all are refused", arguments: ["max_tokens", "max_completion_tokens"])
  func noTokens(key: String) throws {
    #expect(try refused("\"\(key)\": 0").param == key)
  }

  @Test("stop is a text or some of them")
  func stop() throws {
    #expect(try read(#""stop": "a""#).options.stops == ["a"])
    #expect(try read(#""stop": ["a", "b"]"#).options.stops == ["a", "b"])
    #expect(try read(#""stop": null"#).options.stops == [])
  }

  @Test(
    "A stop that is no text, or an empty one, is refused", arguments: [#""""#, "5", #"["a", ""]"#, "[null]"])
  func wrongStop(value: String) throws {
    #expect(try refused("\"stop\": \(value)").param == "stop")
  }

  @Test("top_logprobs needs logprobs")
  func logprobs() throws {
    #expect(try read(#""logprobs": true, "top_logprobs": 3"#).options.best == 3)
    #expect(try refused(#""top_logprobs": 3"#).param == "top_logprobs")
  }

  @Test("A key that would change the answer is refused by name, unless it changes nothing or is null")
  func unsupported() throws {
    let values = [
      ("n", "2", "1"), ("best_of", "2", "1"), ("frequency_penalty", "0.5", "0"),
      ("presence_penalty", "-1", "0.0"), ("repetition_penalty", "1.1", "1"), ("top_k", "40", "-1"),
      ("min_p", "0.1", "0"), ("min_tokens", "3", "0"), ("length_penalty", "0.5", "1"),
      ("use_beam_search", "true", "false"), ("ignore_eos", "true", "false"), ("echo", "true", "false"),
      ("include_stop_str_in_output", "true", "false"), ("return_tokens_as_token_ids", "true", "false"),
      ("skip_special_tokens", "false", "true"), ("spaces_between_special_tokens", "false", "true"),
      ("add_special_tokens", "true", "false"), ("logit_bias", #"{"5": 1}"#, "{}"),
      ("stop_token_ids", "[5]", "[]"), ("bad_words", #"["a"]"#, "[]"), ("logits_processors", #"["a"]"#, "[]"),
      ("chat_template_kwargs", #"{"a": 1}"#, "{}"), ("documents", "[{}]", "[]"),
      ("mm_processor_kwargs", #"{"a": 1}"#, "{}"), ("modalities", #"["text", "audio"]"#, #"["text"]"#),
      ("response_format", #"{"type": "json_object"}"#, #"{"type": "text"}"#),
      ("allowed_token_ids", "[5]", "null"), ("truncate_prompt_tokens", "5", "null"),
      ("chat_template", #""{{ messages }}""#, "null"), ("structured_outputs", "{}", "null"),
      ("guided_json", "{}", "null"), ("guided_regex", #""a""#, "null"), ("guided_choice", #"["a"]"#, "null"),
      ("guided_grammar", #""a""#, "null"), ("functions", #"[{"name": "f"}]"#, "[]"),
      ("function_call", #""auto""#, #""none""#), ("logprob_token_ids", "[5]", "null"),
      ("thinking_token_budget", "5", "null"), ("repetition_detection", "{}", "null"),
      ("return_prompt_text", "true", "false"),
      ("audio", "{}", "null"), ("prediction", "{}", "null"), ("web_search_options", "{}", "null"),
      ("verbosity", #""low""#, "null"),
    ]
    #expect(Set(values.map(\.0)) == Set(CompletionRequest.unsupported.map(\.name)))
    for (key, harmful, harmless) in values {
      #expect(try refused("\"\(key)\": \(harmful)").param == key)
      #expect(throws: Never.self, "\(key)") { _ = try read("\"\(key)\": \(harmless)") }
    }
  }

  @Test("The documents name each of these keys", arguments: ["Serving.md", "openapi.yaml"])
  func documented(name: String) throws {
    let text = String(decoding: try bytes(of: "\(checkout)/Docs/\(name)"), as: UTF8.self)
    let words = Set(text.split { !$0.isLetter && $0 != "_" })
    for key in CompletionRequest.unsupported { #expect(words.contains(Substring(key.name)), "\(key.name)") }
  }

  @Test("Other keys are passed over")
  func others() throws {
    #expect(try read(#""user": "me", "metadata": {"a": 1}, "store": true"#).options.maxTokens == 256)
  }

  @Test("What mistral-common refuses has its exception")
  func exception() throws {
    let error = try refusal { _ = try read(#""temperature": 1.5"#) }
    #expect(Refusal(error).type == "ValidationError" && Refusal(error).status == .badRequest)
  }

  private static let tools = #""tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]"#

  @Test("Calls are read if there are tools, and tool_choice is not none")
  func calls() throws {
    #expect(try read(Self.tools).readsCalls)
    #expect(try read(Self.tools + #", "tool_choice": "auto""#).readsCalls)
    #expect(try !read(Self.tools + #", "tool_choice": "none""#).readsCalls)
    #expect(try !read(#""tools": []"#).readsCalls)
  }

  @Test(
    "A call that must be made is refused",
    arguments: [#""required""#, #""any""#, #"{"type": "function", "function": {"name": "f"}}"#])
  func forcedCall(choice: String) throws {
    #expect(try refused(Self.tools + ", \"tool_choice\": \(choice)").param == "tool_choice")
  }

  @Test("stream_options needs stream")
  func streamOptions() throws {
    #expect(try read(#""stream": true, "stream_options": {"include_usage": true}"#).includesUsage)
    #expect(try refused(#""stream_options": {"include_usage": true}"#).param == "stream_options")
    let wrong = #""stream": true, "stream_options": {"include_usage": "x"}"#
    #expect(try refused(wrong).param == "stream_options.include_usage")
  }

  @Test("Log-probabilities of the prompt do not go with a stream")
  func promptLogprobs() throws {
    #expect(try read(#""prompt_logprobs": 2"#).options.promptBest == 2)
    #expect(try refused(#""prompt_logprobs": 2, "stream": true"#).param == "prompt_logprobs")
  }
}
