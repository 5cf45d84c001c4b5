/// A chat request in the form that the model card shows: messages, and tools that the model may call.
///
/// What its fields may be is mistral-common's `ChatCompletionRequest`; `RequestReader.swift` reads one.
public struct ChatRequest: Sendable, Equatable {
  public enum Role: String, Sendable {
    case system, user, assistant, tool
  }

  public enum Chunk: Sendable, Equatable {
    case text(String)
    /// A text with half of a surrogate pair, which only JSON can write. It is well-formed to Python, and no tokenizer takes it.
    case brokenText
    /// The URL of an image; `ImageSource` says which there are.
    case image(String)
    /// mistral-common knows these two; this model has no tokens for them.
    case audio
    case thinking
  }

  public struct ToolCall: Sendable, Equatable {
    /// `null`, in letters, if the request gives none.
    public let id: String
    public let name: String
    /// JSON text, or what is meant to be.
    let arguments: PythonString
  }

  public struct Message: Sendable, Equatable {
    public var role: Role
    /// A content that is a string is one chunk of text; one that is absent has no chunks.
    public var content: [Chunk]
    /// Whether the content is a string rather than chunks, which older releases tell apart where it is empty.
    var contentIsString = false
    public var toolCalls: [ToolCall] = []
    /// Whether `tool_calls` is given, be it empty.
    var hasToolCalls = false
    /// An assistant message that the model is to continue.
    public var isPrefix = false
    /// Of a tool message: which call it answers.
    public var toolCallID: String?
    /// Of a tool message: the tool's name. It does not show in the tokens.
    public var name: String?

    public init(_ role: Role, _ content: [Chunk]) {
      self.role = role
      self.content = content
    }
  }

  public struct Tool: Sendable, Equatable {
    public let name: String
    let description: PythonString
    /// A JSON schema, Draft 7.
    let parameters: PythonValue
  }

  public var messages: [Message]
  public var tools: [Tool] = []
  /// Whether the last message is an assistant message marked by `continue_final_message`, not by its own `prefix`.
  var continuesFinalMessage = false
  /// `truncate_for_context_length`.
  public var truncates = false
  /// `reasoning_effort`, which V7 has no tokens for.
  var reasoningEffort: String?
  /// What relative image paths are relative to.
  public var folder = "."

  public init(_ messages: [Message]) { self.messages = messages }
}
