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

  /// The model on the inputs that the runtime made, beside the reference on the same; and the inputs, beside the
  /// case's, apart: if they are wrong, that comes first.
  private func judged(_ tokens: [Int], _ file: Safetensors, _ golden: TraceFile, _ question: ConformanceCase)
    throws -> CaseVerdict
  {
    let path = file.file.path
    guard file.tensors.contains(where: { golden.taps.contains($0.name) }) else {
      return CaseVerdict(question, .malformed, "no tap in \(path)")
    }
    let inputs = try inputs(tokens, file, golden, question)
    let isSame = inputs.distance == 0 && inputs.verdict == .passed
    let model =
      isSame ? try judged(path, against: golden, question) : try onOwnInputs(tokens, file, question)
    guard inputs.verdict == .failed else { return model }
    var verdict = inputs
    let place = model.tap.map { " at \($0)" } ?? model.detail.map { ": \($0)" } ?? ""
    verdict.detail =
      [inputs.detail, "on its own inputs the model is \(model.verdict.rawValue)\(place)"].compactMap(\.self)
      .joined(separator: "; ")
    return verdict
  }

  /// The tokens and pixels of a runtime, against a case's; the distance is that of the pixels.
  private func inputs(_ tokens: [Int], _ file: Safetensors, _ golden: TraceFile, _ question: ConformanceCase)
    throws -> CaseVerdict
  {
    var verdict = verdict(onTokens: tokens, question.expect["tokens"]?.integers ?? [], question)
    guard verdict.verdict == .passed else {
      verdict.tap = "tokens"
      return verdict
    }
    verdict.distance = 0
    for image in golden.images {
      guard let tensor = file.tensors.first(where: { $0.name == image.name }), tensor.dtype == .f32,
        tensor.shape == image.shape
      else {
        return CaseVerdict(
          question, .failed, "expected \(image.name) as F32 \(image.shape)", tap: image.name)
      }
      let (found, expected): ([Float], [Float]) = (
        try StoredTensor(tensor, of: file.file).vector(), image.vector()
      )
      let sums = zip(found, expected).reduce(into: (error: 0.0, size: 0.0)) { sums, pair in
        let (a, e) = (Double(pair.0), Double(pair.1))
        sums.error += (a - e) * (a - e)
        sums.size += e * e
      }
      let relF = (sums.error / sums.size).squareRoot()
      let limit = Self.pixelLimit(in: runtime.description.arithmetic)
      guard relF <= limit else {
        return CaseVerdict(question, .failed, tap: image.name, distance: relF, limit: limit)
      }
      verdict.distance = max(verdict.distance ?? 0, relF)
    }
    return verdict
  }

  /// Pixels are made in float32 whatever a model computes in. A runtime that keeps them in 16 bits has rounded each
  /// once more, by half a unit of rounding at most, which twice over is close.
  private static func pixelLimit(in arithmetic: Arithmetic) -> Double {
    switch arithmetic {
    case .float64, .float32, .tf32: 3e-5
    case .float16: 0x1p-11
    case .bfloat16: 0x1p-8
    }
  }

  /// What the taps are worth beside the reference's on the same inputs.
  private func onOwnInputs(_ tokens: [Int], _ file: Safetensors, _ question: ConformanceCase) throws
    -> CaseVerdict
  {
    // A prompt of any length is no reason to compute for hours.
    guard tokens.count <= Self.mostTokens else {
      return CaseVerdict(question, .failed, "its \(tokens.count) tokens are too many to compute")
    }
    do {
      let checkpoint = try Checkpoint(question.model ?? "")
      let images = file.tensors.filter { $0.name.hasPrefix("image") }
      let prompt = try Prompt(tokens: tokens, pixelsFile: images.isEmpty ? nil : file.file.path)
      let out = TraceFolder(try "\(runtime.inputFolder(of: question))/reference", dtype: .f64, sparing: [])
      do { _ = try Pixtral<Double>(checkpoint)(prompt, trace: Trace(out)) } catch is TraceEnd {}
      _ = try out.finish(summary: [])
      return try judged(file.file.path, against: TraceFile(out.file), question)
    } catch let error as InputError {
      return CaseVerdict(
        question, .failed, "nothing can be computed from its inputs: \(shortened("\(error)", to: 200))")
    }
  }

  /// The longest case has 1,047; of as many as these the logits alone take 300 MB.
  private static let mostTokens = 1_280

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
            key: member.key, value: .string(PythonString("data:image/\(type);base64,\(base64(bytes))")))
        })
    default: return value
    }
  }
}
