import PixtralStorage

extension V7Template {
  /// Empties messages from the first on until the rest fits: never a system message nor the last
  /// user message; with a user message go the answers to it. The images of the messages that go
  /// stay: so mistral-common has it. Tokens.md 11.
  func truncate(
    _ tokens: inout [[Int]], of roles: [ChatRequest.Role], to limit: Int, keeping lastUser: Int?
  ) throws {
    var excess = tokens.reduce(-limit) { $0 + $1.count }
    func drop(_ index: Int) {
      if roles[index] == .system || index == lastUser { return }
      excess -= tokens[index].count
      tokens[index] = []
    }
    var index = 0
    while excess > 0 && index < roles.count {
      drop(index)
      index += 1
      guard roles[index - 1] == .user else { continue }
      while index < roles.count && roles[index] != .user {
        drop(index)
        index += 1
      }
    }
    guard excess <= 0 else {
      throw InputError.request(
        "messages", "system messages and a last user message of at most \(limit) tokens", "\(limit + excess)",
        "TokenizerException")
    }
  }
}
