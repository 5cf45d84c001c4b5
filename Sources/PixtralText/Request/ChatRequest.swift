import PixtralImage
import PixtralStorage

/// A chat request in the form that the model card shows: messages, and tools that the model may
/// call.
///
/// What its fields may be is mistral-common's `ChatCompletionRequest`; `RequestReader.swift` reads
/// one.
public struct ChatRequest: Sendable, Equatable {
  /// Who speaks.
  public enum Role: String, Sendable {
    /// Instructions to the assistant.
    case system
    /// Who asks.
    case user
    /// Who answers, and calls tools.
    case assistant
    /// What a tool gave back.
    case tool
  }

  /// A part of a message.
  public enum Chunk: Sendable, Equatable {
    /// A stretch of text.
    case text(String)
    /// A text with half of a surrogate pair, which only JSON can write. It is well-formed to
    /// Python, and no tokenizer takes it.
    case brokenText
    /// The URL of an image: `data:`, `file://`, or a path relative to `folder`. Nothing is ever
    /// fetched.
    case image(String)
    /// An image that is there already: a chunk of type `image`, which mistral-common opens while it
    /// reads, and draws when it writes tokens, so that it may fail as late.
    case loaded(Result<LoadedImage, InputError>)
    /// mistral-common knows it; this model has no tokens for it.
    case audio
    /// mistral-common knows it; V7 has no tokens for it.
    case thinking
  }

  /// A call of a tool by the assistant.
  public struct ToolCall: Sendable, Equatable {
    /// `null`, in letters, if the request gives none.
    public let id: String
    /// The tool's name.
    public let name: String
    /// JSON text, or what is meant to be.
    let arguments: PythonString
  }

  /// One turn of the conversation.
  public struct Message: Sendable, Equatable {
    /// Who speaks.
    public var role: Role
    /// A content that is a string is one chunk of text; one that is absent has no chunks.
    public var content: [Chunk]
    /// Whether the content is a string rather than chunks, which older releases tell apart where it
    /// is empty.
    var contentIsString = false
    /// Of an assistant message: the tools that it calls.
    public var toolCalls: [ToolCall] = []
    /// Whether `tool_calls` is given, be it empty.
    var hasToolCalls = false
    /// An assistant message that the model is to continue.
    public var isPrefix = false
    /// Of a tool message: which call it answers.
    public var toolCallID: String?
    /// Of a tool message: the tool's name. It does not show in the tokens.
    public var name: String?

    /// A message of chunks.
    public init(_ role: Role, _ content: [Chunk]) {
      self.role = role
      self.content = content
    }
  }

  /// A tool that the model may call.
  public struct Tool: Sendable, Equatable {
    /// The tool's name.
    public let name: String
    let description: PythonString
    /// A JSON schema, Draft 7.
    let parameters: PythonValue
  }

  /// How an answer is to be: nil where the request does not say.
  public struct Settings: Sendable, Equatable {
    /// From 0 to 1; 0 takes the most likely token.
    public var temperature: Double?
    /// From 0 to 1: what the tokens to choose from come to, the most likely first.
    public var topP: Double?
    /// The most tokens.
    public var maxTokens: UInt64?
    /// What random numbers begin with.
    public var randomSeed: UInt64?

    /// Says nothing.
    public init() {}
  }

  /// The conversation so far.
  public var messages: [Message]
  /// Tools that the model may call.
  public var tools: [Tool] = []
  /// Whether the last message is an assistant message marked by `continue_final_message`, not by
  /// its own `prefix`.
  var continuesFinalMessage = false
  /// `truncate_for_context_length`: whether messages may go until the rest fits.
  public var truncates = false
  /// `reasoning_effort`, which V7 has no tokens for.
  var reasoningEffort: String?
  /// How the answer is to be, where the request says so.
  public var settings = Settings()
  /// What relative image paths are relative to.
  public var folder = "."

  /// A request without tools.
  public init(_ messages: [Message]) { self.messages = messages }
}
