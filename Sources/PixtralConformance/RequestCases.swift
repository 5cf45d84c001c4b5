import PixtralReference
import PixtralStorage
import PixtralText

// Stage model, of a runtime that takes no tokens and no pixels: it is sent the request, and says what it made of it.

extension Asking {
  func request(_ question: ConformanceCase, _ golden: TraceFile) throws -> CaseVerdict {
    let answer = try runtime.ask(
      question, "trace",
      [
        ("request", Optional(withImages(chatRequest(of: question), question)).jsonBytes),
        ("taps", JSON.array(golden.taps.map(JSON.string)).bytes),
      ])
    return try judged(question, answer) { answer in
      guard let tokens = answer["tokens"]?.integers else {
        return CaseVerdict(question, .malformed, "no array of integers under tokens")
      }
      switch try tensors(of: answer, question) {
      case .failure(let unusable): return CaseVerdict(question, .malformed, unusable.why)
      case .success(let file): return try judged(tokens, file, golden, question)
      }
    }
  }

  /// Its inputs first, against the case's. If they are wrong, the model is judged all the same, on these very inputs.
  private func judged(_ tokens: [Int], _ file: Safetensors, _ golden: TraceFile, _ question: ConformanceCase)
    throws
    -> CaseVerdict
  {
    let path = file.file.path
    guard file.tensors.contains(where: { golden.taps.contains($0.name) }) else {
      return CaseVerdict(question, .malformed, "no tap in \(path)")
    }
    let expected = question.expect["tokens"]?.integers ?? []
    let ofTokens = verdict(onTokens: tokens, expected, question)
    let whole = try tokens == expected ? judged(path, against: golden, question) : nil
    if let whole, whole.tap.map({ !$0.hasPrefix("image") }) ?? true { return whole }
    // Only the inputs are wrong so far.
    var inputs = whole ?? ofTokens
    if whole == nil { inputs.tap = "tokens" }
    let own = try onOwnInputs(tokens, file, question)
    inputs.detail = [inputs.detail, own].compactMap(\.self).joined(separator: "; ")
    return inputs
  }

  /// What the taps are worth beside the reference's on the same inputs, in words.
  private func onOwnInputs(_ tokens: [Int], _ file: Safetensors, _ question: ConformanceCase) throws -> String
  {
    // A prompt of any length is no reason to compute for hours.
    guard tokens.count <= Self.mostTokens else { return "its \(tokens.count) tokens are too many to compute" }
    do {
      let checkpoint = try Checkpoint(question.model ?? "")
      let images = file.tensors.filter { $0.name.hasPrefix("image") }
      let prompt = try Prompt(tokens: tokens, pixelsFile: images.isEmpty ? nil : file.file.path)
      let out = TraceFolder("\(try runtime.inputFolder(of: question))/reference", dtype: .f64, sparing: [])
      _ = try Pixtral<Double>(checkpoint)(prompt, trace: Trace(out))
      _ = try out.finish(summary: [])
      let verdict = try judged(file.file.path, against: TraceFile(out.file), question)
      let place = verdict.tap.map { " at \($0)" } ?? ""
      return "on its own inputs the model is \(verdict.verdict.rawValue)\(place)"
    } catch let error as InputError {
      return "on its own inputs nothing can be computed: \(shortened("\(error)", to: 200))"
    }
  }

  private static let mostTokens = 4_096

  private func chatRequest(of question: ConformanceCase) throws -> PythonValue {
    let path = try file(question.inputs["request"] ?? .none, of: question)
    return try MappedFile(plain: path).withBytes { try PythonValue(json: $0, place: path) }
  }

  /// The request with its images in it, as `data:` URLs.
  private func withImages(_ value: PythonValue, _ question: ConformanceCase) throws -> PythonValue {
    switch value {
    case .list(let values): return .list(try values.map { try withImages($0, question) })
    case .dictionary(let members):
      return .dictionary(
        try members.map { member in
          guard member.key.text == "url", let path = member.value.text, !path.hasPrefix("data:") else {
            return .init(key: member.key, value: try withImages(member.value, question))
          }
          let bytes = try MappedFile(plain: "\(question.folder)/\(path)").withBytes { Array($0) }
          let type = path.hasSuffix(".png") ? "png" : "jpeg"
          return .init(
            key: member.key, value: .string(PythonString("data:image/\(type);base64,\(base64Text(bytes))")))
        })
    default: return value
    }
  }
}

/// RFC 4648 with padding.
func base64Text(_ bytes: [UInt8]) -> String {
  let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  var text: [UInt8] = []
  text.reserveCapacity((bytes.count + 2) / 3 * 4)
  for start in stride(from: 0, to: bytes.count, by: 3) {
    let three = (0..<3).map { start + $0 < bytes.count ? UInt32(bytes[start + $0]) : 0 }
    let value = three[0] << 16 | three[1] << 8 | three[2]
    for (n, shift) in [18, 12, 6, 0].enumerated() {
      let isThere = start + n <= bytes.count
      text.append(isThere ? digits[Int(value >> UInt32(shift) & 63)] : UInt8(ascii: "="))
    }
  }
  return String(decoding: text, as: UTF8.self)
}
