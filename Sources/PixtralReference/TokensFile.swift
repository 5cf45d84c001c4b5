import PixtralStorage

/// The token ids of a JSON file, `[1, 3, …]` or `{"tokens": [1, 3, …]}` with any other keys, which a
/// `trace.json` has. Nothing but the ids is kept.
///
/// - Throws: `InputError`; of kind `wrongTokens` if there are none.
func readTokens(_ path: String) throws -> [Int] {
  try MappedFile(path).withBytes { text in
    var reader = try JSONReader(text, place: path)
    var tokens: [Int]?
    switch try reader.next() {
    case .beginArray: tokens = try integers(&reader, path, text.count)
    case .beginObject:
      while case .key(let key) = try reader.next() {
        let value = try reader.next()
        if reader.string(key) != "tokens" {
          try reader.skip(value)
        } else if case .beginArray = value {
          tokens = try integers(&reader, path, text.count)
        } else {
          throw refusal(path, reader.excerpt(from: 0))
        }
      }
    default: break
    }
    // Nothing may follow.
    _ = try reader.next()
    guard let tokens else { throw refusal(path, reader.excerpt(from: 0)) }
    return tokens
  }
}

/// The rest of an array of integers.
private func integers(_ reader: inout JSONReader, _ path: String, _ bytes: Int) throws -> [Int] {
  var integers: [Int] = []
  // An array that grows is in memory twice; what is reserved and not used is in none.
  integers.reserveCapacity(bytes / 2)
  while true {
    let start = reader.offset
    switch try reader.next() {
    case .endArray: return integers
    case .number(let literal):
      guard let integer = reader.integer(literal) else { fallthrough }
      integers.append(integer)
    default: throw refusal(path, "\(reader.excerpt(from: start)) as element \(integers.count)")
    }
  }
}

private func refusal(_ path: String, _ found: String) -> InputError {
  InputError(
    .wrongTokens, path, expected: "an array of integers, or an object with one under tokens", found: found)
}
