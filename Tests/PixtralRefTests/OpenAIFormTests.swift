import PixtralStorage
import TestSupport
import Testing

/// Requests in OpenAI's form: on the command line, in a session, and as a case of the kit.
@Suite("OpenAI's form")
struct OpenAIFormTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// Only OpenAI's form knows this role. mistral-common makes these tokens of it.
  private let request =
    #"{"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": "Hi"}]}"#
  private let tokens = [1, 16, 1036, 17, 3, 16127, 4]

  private func json(_ text: Substring) throws -> JSON { try JSON(parsing: String(text), place: "an answer") }

  @Test("A request file is read in the form that is named")
  func file() throws {
    try folder.write("request.json", request)
    let answer = try shell(#""$0" tokens --request request.json --form openai"#, in: folder.path)
    #expect(try json(answer.out[...])["tokens"]?.integers == tokens)
    #expect(try shell(#""$0" tokens --request request.json"#, in: folder.path).code == 2)
  }

  @Test("Lines have their requests in the form that is named, and what is refused has Python's exception")
  func lines() throws {
    try folder.write(
      "lines", #"{"id": 1, "request": \#(request)}"# + "\n" + #"{"id": 2, "request": {"messages": 5}}"# + "\n"
    )
    let answer = try shell(#""$0" tokens --jsonl --form openai < lines"#, in: folder.path)
    let answers = try answer.out.split(separator: "\n").map(json)
    #expect(answers.count == 2)
    #expect(answers[0]["tokens"]?.integers == tokens)
    #expect(answers[1]["error"]?["type"]?.string == "TypeError")
    #expect(
      answers[1]["error"]?["message"]?.string == "request, messages: expected an array, found a number")
  }

  @Test("Releases without from_openai are no releases of this form")
  func release() throws {
    let result = try shell(#""$0" tokens --jsonl --form openai --as 1.5.6 < /dev/null"#, in: folder.path)
    #expect(result.code == 64)
    #expect(result.error.contains("--form openai is there --as 1.6.0 and later."))
    #expect(
      try shell(#""$0" tokens --jsonl --form openai --as 1.6.0 < /dev/null"#, in: folder.path).code == 0)
  }

  /// The answers of `conformance session`, that to hello first.
  private func answers(_ questions: [String]) throws -> [JSON] {
    let hello = #"{"op":"hello","protocol":1,"folder":"\#(folder.path)"}"#
    try folder.write("questions", ([hello] + questions).joined(separator: "\n") + "\n")
    let result = try shell(#""$0" conformance session < questions"#, in: folder.path)
    #expect(result.code == 0, "\(result.error)")
    return try result.out.split(separator: "\n").map(json)
  }

  @Test("A session lists the feature and renders the form")
  func session() throws {
    let found = try answers([#"{"op":"render","id":1,"form":"openai","request":\#(request)}"#])
    #expect(found[0]["features"]?.array?.contains { $0.string == "tokens.openai" } == true)
    #expect(found[1]["tokens"]?.integers == tokens)
  }

  @Test(
    "Without a form, and with null, a session's request is mistral-common's",
    arguments: ["", #""form":null,"#])
  func noForm(form: String) throws {
    let found = try answers([#"{"op":"render","id":1,\#(form)"request":\#(request)}"#])
    #expect(found[1]["reject"]?["type"]?.string == "ValidationError")
  }

  @Test("A session renders as the release that is named")
  func sessionRelease() throws {
    let continued =
      #"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"s"}],"continue_final_message":true}"#
    let found = try answers([
      #"{"op":"render","id":1,"release":"1.8.0","form":"openai","request":\#(continued)}"#,
      #"{"op":"render","id":2,"release":"1.8.0","request":\#(continued)}"#,
      #"{"op":"render","id":3,"release":null,"request":\#(continued)}"#,
    ])
    #expect(
      found.dropFirst().map { $0["tokens"]?.integers } == [
        [1, 3, 16127, 4, 1036, 2], [1, 3, 16127, 4, 1036, 2], [1, 3, 16127, 4, 1036],
      ])
  }

  @Test(
    "A form or release that is not known is unsupported, and the session goes on",
    arguments: [
      (#""form":"anthropic""#, "a form other than mistral and openai"),
      (#""form":5"#, "a form other than mistral and openai"),
      (#""release":"9.9.9""#, "a release that is none from 1.5.0 to 1.13.1"),
      (#""form":"openai","release":"1.5.6""#, "OpenAI's form before the release 1.6.0"),
    ])
  func unsupported(keys: String, why: String) throws {
    let found = try answers([
      #"{"op":"render","id":1,\#(keys),"request":\#(request)}"#,
      #"{"op":"render","id":2,"form":"openai","request":\#(request)}"#,
    ])
    #expect(found[1]["unsupported"]?.string == why)
    #expect(found[2]["tokens"]?.integers == tokens)
  }

  /// What the kit says of two runs of one case whose `inputs` have a form.
  private func verdict(_ runtime: String) throws -> String? {
    let suite = "F/cases/tokens/request/openai"
    try folder.write("\(suite).json", bytes(of: "\(fixtures)/cases/tokens/request/rules.json"))
    try folder.write(
      "\(suite).jsonl",
      #"{"id":"tokens/request/developer","title":"A developer is the system.","#
        + #""inputs":{"form":"openai","request":\#(request)},"expect":{"tokens":\#(tokens)}}"# + "\n")
    let run = #""$0" conformance run --fixtures F/cases --json --runtime "\#(runtime)""#
    let report = try json(shell(run, in: folder.path).out[...])
    return report["cases"]?.array?.first?["verdict"]?.string
  }

  @Test("A case with a form is asked in it")
  func asked() throws { #expect(try verdict(#"$0 conformance session"#) == "passed") }

  @Test("A case with a form is not asked of a runtime without the feature")
  func notAsked() throws {
    try folder.write(
      "runtime",
      #"""
      read hello
      echo '{"name":"r","version":"1","arithmetic":"float32","features":["tokens"],"rotary":"adjacent"}'
      read question && echo '{"id":1,"tokens":[]}'
      """#)
    #expect(try verdict("sh runtime") == "unsupported")
  }
}
