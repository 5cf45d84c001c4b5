import PixtralStorage

/// The token ids of a JSON file: `[1, 3, …]`; or an object with them under `tokens`, as `trace.json` has
/// them, under `input_ids`, or as a case has them, `{"expect": {"tokens": [1, 3, …]}}`. A batch of one
/// list is that list. Nothing but the ids is kept.
///
/// - Throws: `InputError`; of kind `wrongTokens` if there are none.
package func readTokens(_ path: String) throws -> [Int] {
  try MappedFile(path).withBytes { text in
    var reader = try JSONReader(text, place: path)
    let tokens = try list(&reader, try reader.next(), path, text.count)
    // Nothing may follow.
    _ = try reader.next()
    return tokens
  }
}

/// The list that a value is or has.
private func list(_ reader: inout JSONReader, _ first: JSONReader.Token, _ path: String, _ bytes: Int) throws
  -> [Int]
{
  switch first {
  case .beginArray: return try integers(&reader, path, bytes)
  case .beginObject:
    var tokens: [Int]?
    var isRequest = false
    while case .key(let key) = try reader.next() {
      let value = try reader.next()
      switch reader.string(key) {
      case "tokens", "input_ids", "expect":
        guard tokens == nil else {
          throw refusal(path, "two of the keys tokens, input_ids and expect")
        }
        tokens = try list(&reader, value, path, bytes)
      case "messages":
        isRequest = true
        try reader.skip(value)
      default: try reader.skip(value)
      }
    }
    if let tokens { return tokens }
    throw isRequest
      ? refusal(path, "a chat request", "give it with --request") : refusal(path, "an object without them")
  default: throw refusal(path, reader.excerpt(from: 0))
  }
}

/// The rest of an array of integers, or of one that holds a single array of them.
private func integers(_ reader: inout JSONReader, _ path: String, _ bytes: Int) throws -> [Int] {
  var integers: [Int] = []
  while true {
    let start = reader.offset
    switch try reader.next() {
    case .endArray: return integers
    case .number(let literal):
      guard let integer = reader.integer(literal) else {
        throw refusal(
          path, "\(reader.excerpt(from: start)) as element \(integers.count)",
          "write an id as an integer of 64 bits, without fraction and exponent")
      }
      // An array that grows is in memory twice; what is reserved and not used is in none.
      if integers.isEmpty { integers.reserveCapacity(bytes / 2) }
      integers.append(integer)
    case .beginArray where integers.isEmpty:
      integers = try PixtralReference.integers(&reader, path, bytes)
      let end = reader.offset
      switch try reader.next() {
      case .endArray: return integers
      case .beginArray: throw refusal(path, "a batch of more than one list", "give one prompt at a time")
      default: throw refusal(path, "\(reader.excerpt(from: end)) behind a list")
      }
    default: throw refusal(path, "\(reader.excerpt(from: start)) as element \(integers.count)")
    }
  }
}

private func refusal(_ path: String, _ found: String, _ advice: String = "") -> InputError {
  InputError(
    .wrongTokens, path, expected: "an array of integers, or an object with one under tokens", found: found,
    advice: advice)
}
