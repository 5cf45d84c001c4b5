import PixtralText

/// Which tokens a spelling may be: servers write `▁the`, ` the` or `the` for one token, or `token_id:1040`; a byte
/// that is no character, and a control token, they write in many ways.
struct Spellings {
  private var ids: [String: [Int]] = [:]
  /// By the bytes of their text, `▁` as a space.
  private var byBytes: [[UInt8]: [Int]] = [:]
  /// Tokens that have no text of their own: bytes, and control tokens.
  private var vague: [Int] = []
  private let count: Int

  init(_ tokenizer: Tokenizer) {
    let pieces = tokenizer.vocabulary.pieces
    count = pieces.count
    for (id, piece) in pieces.enumerated() {
      let (text, bytes) = tokenizer.spelling(of: id)
      var spellings: Set = [piece.text, text]
      if piece.text.hasPrefix("▁") { spellings.insert(String(piece.text.dropFirst())) }
      for spelling in spellings { ids[spelling, default: []].append(id) }
      if let bytes { byBytes[bytes, default: []].append(id) }
      if piece.kind == .control || piece.kind == .byte { vague.append(id) }
    }
  }

  /// - bytes, id: what a server tells beside the spelling, which is surer.
  func candidates(_ spelling: String, bytes: [Int]?, id: Int?) -> [Int] {
    if let id, (0..<count).contains(id) { return [id] }
    if spelling.hasPrefix("token_id:") {
      return Int(spelling.dropFirst("token_id:".utf8.count)).map { [$0] } ?? []
    }
    let told = bytes.flatMap(Self.octets) ?? Self.escaped(spelling)
    let isVague = spelling.isEmpty || spelling == "\u{FFFD}"
    let spelled = ids[spelling] ?? []
    // A server that cuts spaces off cuts them off the bytes, too.
    if let told, !told.isEmpty, let found = byBytes[told] {
      return isVague ? found : found + spelled.filter { !found.contains($0) }
    }
    return isVague ? vague + spelled : spelled
  }

  private static func octets(_ numbers: [Int]) -> [UInt8]? {
    let octets = numbers.compactMap(UInt8.init(exactly:))
    return octets.count == numbers.count ? octets : nil
  }

  /// The bytes in `bytes:\x97`, as OpenAI spells what is no character; nil for other spellings.
  private static func escaped(_ spelling: String) -> [UInt8]? {
    guard spelling.hasPrefix("bytes:") else { return nil }
    let parts = spelling.dropFirst("bytes:".utf8.count).split(separator: "\\x")
    let bytes = parts.compactMap { UInt8($0, radix: 16) }
    return bytes.count == parts.count ? bytes : nil
  }
}
