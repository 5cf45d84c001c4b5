import PixtralStorage
import PixtralText

/// A request for the tokens of a chat, or of a text. Serving.md 1.4.
struct TokenizeRequest: Sendable {
  enum Content: Sendable {
    case chat(ChatRequest)
    /// A text, and whether `<s>` stands in front of it.
    case text(String, begins: Bool)
  }

  let content: Content
  /// Whether the pieces are told too.
  let tellsPieces: Bool

  /// - Throws: `Refusal` that names the key; `InputError` with mistral-common's exception.
  init(_ value: PythonValue) throws {
    let keys = Keys(value)
    tellsPieces = try keys.boolean("return_token_strs") ?? false
    let begins = try keys.boolean("add_special_tokens")
    guard let text = value["prompt"], text != .none else {
      guard begins != true else {
        throw Refusal.wrong(
          "add_special_tokens", expected: "false beside messages, which have their own", found: "true")
      }
      content = .chat(
        try ChatRequest(value, place: "request", folder: ".", images: ImageLoader(), form: .openAI))
      return
    }
    guard value["messages"] == nil else {
      throw Refusal.wrong("prompt", expected: "prompt or messages", found: "both")
    }
    guard let text = text.asText else {
      throw Refusal.wrong("prompt", expected: "a text", found: text.dumped())
    }
    content = .text(text, begins: begins ?? true)
  }
}

/// A request for the text of tokens. Serving.md 1.5.
struct DetokenizeRequest: Sendable {
  let tokens: [Int]

  /// - pieces: how many there are.
  /// - Throws: `Refusal`.
  init(_ value: PythonValue, pieces: Int) throws {
    guard let tokens = value["tokens"]?.asList else {
      throw Refusal.wrong(
        "tokens", expected: "an array of ids", found: value["tokens"]?.kindName ?? "no such key")
    }
    self.tokens = try tokens.map { token in
      guard let id = token.asWholeNumber.flatMap(Int.init(exactly:)), (0..<pieces).contains(id) else {
        throw Refusal.wrong("tokens", expected: "ids from 0 to \(pieces - 1)", found: token.dumped())
      }
      return id
    }
  }
}

extension PythonValue {
  /// How long the URLs of images in the messages of a request are.
  var bytesOfImages: Int {
    let chunks = (self["messages"]?.asList ?? []).flatMap { $0["content"]?.asList ?? [] }
    return chunks.reduce(0) { sum, chunk in
      let image = chunk["image_url"]
      return sum + ((image?["url"] ?? image)?.asText?.utf8.count ?? 0)
    }
  }
}
