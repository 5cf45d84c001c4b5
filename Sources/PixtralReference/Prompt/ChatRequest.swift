/// A chat request in the form that the model card shows: `messages`, each with a role and content.
///
/// Only what the template of this version renders can be expressed; everything else is refused while reading.
public struct ChatRequest: Sendable, Equatable {
  public enum Role: String, Sendable {
    case system, user, assistant
  }

  public enum Chunk: Sendable, Equatable {
    case text(String)
    case image(ImageSource)
  }

  public struct Message: Sendable, Equatable {
    public let role: Role
    /// A content that is a string is one chunk of text.
    public let content: [Chunk]

    public init(_ role: Role, _ content: [Chunk]) {
      self.role = role
      self.content = content
    }
  }

  public let messages: [Message]

  public init(_ messages: [Message]) { self.messages = messages }
}

extension ChatRequest {
  /// Reads a request.
  ///
  /// - place: named in errors.
  /// - folder: what relative image paths are relative to.
  /// - Throws: `InputError` of kind `wrongRequest`, also for what V7 has and this version does not render yet.
  public init(_ json: JSON, place: String, folder: String) throws {
    guard case .object(let members) = json else {
      throw wrong(place, "a JSON object with messages", json.kindName)
    }
    for member in members where member.key != "messages" {
      try checkSetting(member, place)
    }
    guard case .array(let values)? = json["messages"] else {
      throw wrong("\(place), messages", "an array of messages", json["messages"]?.kindName ?? "no such key")
    }
    messages = try values.enumerated().map { try Message($1, place: "\(place), message \($0)", folder: folder) }
  }

  /// Reads a request file; relative image paths are relative to it.
  public init(file path: String) throws {
    let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    try self.init(JSON(file: path), place: path, folder: path.contains("/") ? (folder.isEmpty ? "/" : folder) : ".")
  }
}

extension ChatRequest.Message {
  fileprivate init(_ json: JSON, place: String, folder: String) throws {
    guard case .object(let members) = json else { throw wrong(place, "an object with role and content", json.kindName) }
    guard case .string(let name)? = json["role"] else { throw wrong("\(place), role", "a string", "none") }
    guard let role = ChatRequest.Role(rawValue: name) else {
      throw wrong("\(place), role", "system, user or assistant", name, name == "tool" ? notYet : "")
    }
    for member in members {
      switch (member.key, member.value) {
      case (_, .null), ("prefix", .bool(false)), ("tool_calls", .array([])): break
      case ("prefix", _), ("tool_calls", _), ("tool_call_id", _), ("reasoning", _), ("reasoning_content", _):
        throw wrong("\(place), \(member.key)", "no \(member.key)", member.value.text(), notYet)
      default: break
      }
    }

    let content: [ChatRequest.Chunk]
    switch json["content"] {
    case .string(let text)?: content = [.text(text)]
    case .array(let chunks)?:
      content = try chunks.enumerated().map { try ChatRequest.Chunk($1, place: "\(place), chunk \($0)", folder: folder) }
    case .null? where role == .assistant: content = []
    case nil where role == .assistant: content = []
    case let other: throw wrong("\(place), content", "a string or an array of chunks", other?.kindName ?? "no such key")
    }
    if role != .user, content.contains(where: \.isImage) {
      throw wrong("\(place), content", "text only, as in every \(role) message", "an image")
    }
    self.init(role, content)
  }
}

extension ChatRequest.Chunk {
  fileprivate init(_ json: JSON, place: String, folder: String) throws {
    guard case .string(let type)? = json["type"] else { throw wrong("\(place), type", "text or image_url", "none") }
    switch type {
    case "text":
      guard case .string(let text)? = json["text"] else {
        throw wrong("\(place), text", "a string", json["text"]?.kindName ?? "no such key")
      }
      self = .text(text)
    case "image_url":
      let url: JSON? = if case .object? = json["image_url"] { json["image_url"]?["url"] } else { json["image_url"] }
      guard case .string(let text)? = url else {
        throw wrong("\(place), image_url", "a URL, or an object with a url", url?.kindName ?? "no such key")
      }
      self = .image(try ImageSource(text, place: place, folder: folder))
    default: throw wrong("\(place), type", "text or image_url", type)
    }
  }

  var isImage: Bool { if case .image = self { true } else { false } }
}

/// Keys beside `messages`: what would change a token is refused, settings of sampling and the like change none.
private func checkSetting(_ member: JSON.Member, _ place: String) throws {
  switch (member.key, member.value) {
  case (_, .null), ("tools", .array([])), ("continue_final_message", .bool(false)),
    ("truncate_for_context_length", .bool(false)):
    return
  case ("tools", _), ("continue_final_message", _), ("truncate_for_context_length", _), ("reasoning_effort", _):
    throw wrong("\(place), \(member.key)", "no \(member.key)", member.value.text(), notYet)
  default: return
  }
}

private let notYet = "this version renders system, user and assistant messages only"

private func wrong(_ place: String, _ expected: String, _ found: String, _ advice: String = "") -> InputError {
  InputError(.wrongRequest, place, expected: expected, found: String(found.prefix(80)), advice: advice)
}

extension JSON {
  /// What a value is, for an error.
  var kindName: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .integer, .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}
