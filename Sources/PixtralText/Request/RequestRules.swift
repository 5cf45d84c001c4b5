import PixtralStorage

/// What a well-formed request must keep to beyond its types, in mistral-common's order: the first
/// rule that is broken names the exception. Tokens.md 6.
///
/// The rules are those of its validator for V7 in mode `test`, which is what `MistralTokenizer`
/// uses.
extension ChatRequest {
  /// - Throws: `InputError` of kind `wrongRequest` with the exception that mistral-common raises.
  func validate() throws {
    try checkStructure()
    for index in messages.indices { try check(messages[index], index) }
    for (index, tool) in tools.enumerated() {
      try ToolSchema.check(
        tool.parameters, place: "tool \(index), parameters", exception: "InvalidToolSchemaException")
      try checkName(tool.name, "tool \(index), name", "InvalidToolException")
    }
    if let reasoningEffort {
      throw InputError.request(
        "reasoning_effort", "no such key: V7 has no tokens for it", reasoningEffort, "InvalidRequestException"
      )
    }
  }

  private func checkStructure() throws {
    let exception = "InvalidMessageStructureException"
    guard let last = messages.last else {
      throw InputError.request("messages", "at least one message", "none", exception)
    }
    if messages.count == 1 {
      guard last.role == .user || last.role == .system else {
        throw InputError.request(
          "message 0, role", "user or system, where there is one message", last.role.rawValue, exception)
      }
    } else if last.role == .assistant && !last.isPrefix {
      throw InputError.request(
        "message \(messages.count - 1), role",
        "another role at the end, or an assistant message with prefix: true", "assistant",
        exception)
    }
    for index in messages.indices.dropFirst() {
      let (role, before) = (messages[index].role, messages[index - 1].role)
      guard role.mayFollow(before) else {
        throw InputError.request(
          "message \(index), role", "another role after \(before)", role.rawValue, exception)
      }
    }
    // Calls of the first message are not counted, and nobody looks whether the last calls were
    // answered.
    var unanswered = 0
    for (index, message) in messages.enumerated().dropFirst() {
      if message.role == .tool { unanswered -= 1 }
      guard message.role == .assistant else { continue }
      guard unanswered == 0 else {
        throw InputError.request(
          "message \(index)", "as many tool messages as calls before it", unanswered > 0 ? "fewer" : "more",
          exception)
      }
      if message.hasToolCalls { unanswered = message.toolCalls.count }
    }
    let hasAudio = messages.contains { $0.role == .user && $0.content.contains(.audio) }
    if hasAudio && messages.contains(where: { $0.role == .system }) {
      throw InputError.request("messages", "no audio beside a system message", "both", "ValueError")
    }
  }

  private func check(_ message: Message, _ index: Int) throws {
    switch message.role {
    case .user, .system: break
    case .assistant:
      let exception = "InvalidAssistantMessageException"
      if message.content.contains(.thinking) {
        throw InputError.request("message \(index), content", "text", "a thinking chunk", exception)
      }
      for (n, call) in message.toolCalls.enumerated() {
        let place = "message \(index), tool_calls \(n)"
        try checkCallID(call.id, "\(place), id", "InvalidFunctionCallException")
        try checkName(call.name, "\(place), name", "InvalidFunctionCallException")
      }
      if message.isPrefix && index < messages.count - 1 {
        throw InputError.request(
          "message \(index), prefix", "true at the end only", "true before other messages", exception)
      }
    case .tool:
      let exception = "InvalidToolMessageException"
      if message.content.contains(where: { !$0.isText }) {
        throw InputError.request("message \(index), content", "text", "another chunk", exception)
      }
      if let name = message.name { try checkName(name, "message \(index), name", exception) }
      guard let id = message.toolCallID else {
        throw InputError.request(
          "message \(index), tool_call_id", "the id of a call", "none", "InvalidRequestException")
      }
      try checkCallID(id, "message \(index), tool_call_id", exception)
    }
  }

  private func checkName(_ name: String, _ place: String, _ exception: String) throws {
    guard (1...64).contains(wordLength(name, orHyphens: true)) else {
      throw InputError.request(place, "1 to 64 letters of ASCII, digits, _ and -", name, exception)
    }
  }

  private func checkCallID(_ id: String, _ place: String, _ exception: String) throws {
    guard id != "null", wordLength(id, orHyphens: false) == 9 else {
      throw InputError.request(place, "9 letters and digits of ASCII", id == "null" ? "none" : id, exception)
    }
  }
}

extension ChatRequest.Role {
  fileprivate func mayFollow(_ before: Self) -> Bool {
    switch before {
    case .system: self != .tool
    case .user: self != .tool
    case .assistant: self != .system
    case .tool: self != .system
    }
  }
}

extension ChatRequest.Chunk {
  fileprivate var isText: Bool { if case .text = self { true } else { self == .brokenText } }
}

/// How many characters a name has, if all of them are letters of ASCII, digits, or else `_` and
/// `-`; 0 if one is not.
///
/// A line feed at the very end passes and does not count: Python's `$` matches before it.
private func wordLength(_ name: String, orHyphens: Bool) -> Int {
  var bytes = Array(name.utf8)
  if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
  let allowed = bytes.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    case UInt8(ascii: "_"), UInt8(ascii: "-"): orHyphens
    default: false
    }
  }
  return allowed ? bytes.count : 0
}

extension InputError {
  /// A request that a rule turns down, with the exception that mistral-common raises.
  package static func request(
    _ place: String, _ expected: String, _ found: String, _ exception: String
  ) -> InputError {
    InputError(
      .wrongRequest, place, expected: expected, found: shortened(found), exception: exception)
  }
}
