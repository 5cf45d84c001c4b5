import PixtralStorage
import TestSupport
import Testing

@testable import PixtralText

/// Hundreds of thousands of messages and chunks, each looked at once: otherwise these tests do not
/// come to an end.
struct LongConversationTests {
  private let count = 200_000

  private func tokens(_ messages: [ChatRequest.Message]) throws -> [Int] {
    try V7Template(tokenizer: fixtureTokenizer())(ChatRequest(messages), grids: []).tokens
  }

  private func many(_ role: ChatRequest.Role) -> [ChatRequest.Message] {
    .init(repeating: .init(role, [.text("a")]), count: count)
  }

  private var joined: ChatRequest.Chunk {
    .text([String](repeating: "a", count: count).joined(separator: "\n\n"))
  }

  @Test(arguments: [ChatRequest.Role.user, .assistant])
  func messagesOfOneRoleAreOneWithLinesBetween(role: ChatRequest.Role) throws {
    let last = ChatRequest.Message(.user, [.text("b")])
    let end = role == .user ? [] : [last]
    #expect(try tokens(many(role) + end) == tokens([.init(role, [joined])] + end))
  }

  @Test func chunksOfTextAreOneWithLinesBetween() throws {
    let chunks = ChatRequest.Message(.user, .init(repeating: .text("a"), count: count))
    #expect(try tokens([chunks]) == tokens([.init(.user, [joined])]))
  }

  @Test func systemMessagesStandOneBehindAnother() throws {
    let found = try tokens(many(.system))
    #expect(found == [1] + (0..<count).flatMap { _ in [16, 1032, 17] })
  }

  @Test func allButTheLastQuestionMayGo() throws {
    let turn: [ChatRequest.Message] = [.init(.user, [.text("a")]), .init(.assistant, [.text("b")])]
    var request = ChatRequest((0..<count / 2).flatMap { _ in turn } + [.init(.user, [.text("c")])])
    request.truncates = true
    let rendered = try V7Template(tokenizer: fixtureTokenizer())(request, grids: [], maxTokens: 3)
    #expect(try rendered.tokens == tokens([.init(.user, [.text("c")])]))
  }
}
