import ArgumentParser
import PixtralConformance
import PixtralImage
import PixtralProgram
import PixtralReference
import PixtralStorage
import PixtralText

/// pixtral-ref itself as a runtime, so that it is judged like any other.
struct SessionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "session",
    abstract: "Answer the questions of a conformance session, as a runtime does.",
    discussion: """
      Reads JSON, an object a line, from standard input, and answers each on standard output, until its end. \
      Docs/Conformance.md has the protocol. A question with "form": "openai" has its request in OpenAI's form; \
      one with "release": "\(Release.earliest)" is answered as that release of mistral-common does.
      """)

  @Option(help: "The arithmetic, float32 or float64.")
  var precision = Precision.float32

  @OptionGroup var tokenizer: TokenizerFile

  func run() throws {
    try BLAS.begin()
    let session = Session(try tokenizer.read(), precision)
    let lines = InputLines()
    while let line = try lines.next() {
      if let answer = session.answer(line) { Console.out(bytes: answer) }
    }
  }
}

private final class Session {
  private let tokenizer: Tokenizer
  private let precision: Precision
  private var folder = "."
  private var checkpoint: Checkpoint?
  private var answers = 0

  init(_ tokenizer: Tokenizer, _ precision: Precision) {
    (self.tokenizer, self.precision) = (tokenizer, precision)
  }

  /// - Returns: a line with its end; nil for one with nothing on it.
  func answer(_ line: UnsafeRawBufferPointer) -> [UInt8]? {
    if line.allSatisfy({ [0x20, 0x09, 0x0d].contains($0) }) { return nil }
    var answer = JSONLine()
    var id: PythonValue?
    do {
      let question = try PythonValue(json: line, place: "the question")
      id = question["id"]
      if let id { answer.add("id", id) }
      try reply(to: question, &answer)
    } catch let error as InputError {
      answer = JSONLine()
      if let id { answer.add("id", id) }
      answer.add("reject", error)
    } catch {
      preconditionFailure("a question that is refused with \(error)")
    }
    return answer.finish()
  }

  private func reply(to question: PythonValue, _ answer: inout JSONLine) throws {
    switch question["op"]?.text {
    case "hello": hello(question, &answer)
    case "render": try render(question, &answer)
    case "fim":
      answer.add("tokens", tokenizer.encode(try FillInRequest(question["fim"] ?? .none, place: "fim")))
    case "encode":
      guard case .string(let text)? = question["text"], !text.hasHalfSurrogate else {
        throw refusal("text", "Unicode text", question["text"])
      }
      answer.add("tokens", tokenizer.encode(text.text))
    case "decode":
      guard let tokens = question["tokens"]?.integers,
        tokens.allSatisfy(tokenizer.vocabulary.pieces.indices.contains)
      else { throw refusal("tokens", "ids of the vocabulary", question["tokens"]) }
      answer.add("text", try tokenizer.decode(tokens))
    case "grid":
      guard let width = question["width"]?.integer, let height = question["height"]?.integer, width > 0,
        height > 0
      else { throw refusal("width", "two positive integers", question["width"]) }
      let grid = ImageRule.m1.grid(width: width, height: height)
      answer.add("columns", grid.columns)
      answer.add("rows", grid.rows)
    case "rgb":
      let image = try RGBImage(file: path(question["file"], "file"))
      answer.add("tensors", try store("rgb", "U8", [image.height, image.width, 3], image.samples))
    case "pixels": answer.add("tensors", try pixels(question))
    case "load":
      checkpoint = try Checkpoint(path(question["checkpoint"], "checkpoint"))
    case "step":
      if let step = try StepAnswer(question, tensors: path(question["tensors"], "tensors"), precision) {
        answer.add("tensors", try store("output", precision.dtype.rawValue, step.shape, step.bytes))
      } else {
        answer.add("unsupported", "the stage \(question["stage"]?.text ?? "none")")
      }
    case "trace": answer.add("tensors", try trace(question))
    case "answer": answer.add("tensors", try logProbabilities(question))
    case let other: answer.add("unsupported", "the operation \(other ?? "none")")
    }
  }

  private func hello(_ question: PythonValue, _ answer: inout JSONLine) {
    folder = question["folder"]?.text ?? "."
    answer.add("name", "pixtral-ref")
    answer.add("version", Program.version)
    answer.add("arithmetic", precision.rawValue)
    let features = [
      "tokens", "tokens.openai", "tokens.fim", "tokens.truncation", "grid", "rgb", "pixels", "pixels.sizes",
      "step", "trace", "answer",
      "layout.mistral",
      "layout.hf", "image.png", "image.jpeg", "image.alpha", "multi-image", "resize.opencv-cubic",
      "resize.opencv-portable",
    ]
    answer.add("features", .list(features.map { .string(PythonString($0)) }))
    answer.add("rotary", "adjacent")
  }

  /// What is asked in a form or of a release that is not known is unsupported; `null` is as absent.
  private func render(_ question: PythonValue, _ answer: inout JSONLine) throws {
    let (form, release) = (question["form"] ?? .none, question["release"] ?? .none)
    guard let form = form == .none ? .mistral : ChatRequest.Form(rawValue: form.text ?? "") else {
      return answer.add("unsupported", "a form other than mistral and openai")
    }
    guard let release = release == .none ? .current : Release(release.text ?? "") else {
      return answer.add(
        "unsupported", "a release that is none from \(Release.earliest) to \(Release.current)")
    }
    guard form == .mistral || release.hasOpenAIForm else {
      return answer.add(
        "unsupported", "OpenAI's form before the release \(Release.earliestOfOpenAIForm)")
    }
    let loader = ImageLoader()
    let request = try ChatRequest(
      question["request"] ?? .none, place: "request", folder: folder, images: loader, form: form)
    let grids = request.loadImages(loader).map { $0.map { ImageRule.m1.grid($0.size) } }
    let template = V7Template(tokenizer: tokenizer, release: release)
    let maxTokens = question["max_tokens"]?.integer
    answer.add("tokens", try template(request, grids: grids, maxTokens: maxTokens).tokens)
  }

  private func pixels(_ question: PythonValue) throws -> String {
    let file = try Safetensors(path(question["tensors"], "tensors"))
    guard let rgb = file.tensors.first(where: { $0.name == "rgb" }), rgb.typeName == "U8",
      rgb.shape.count == 3,
      rgb.shape[2] == 3, rgb.shape[0] > 0, rgb.shape[1] > 0
    else {
      throw InputError(
        .wrongPixels, "\(file.file.path), rgb", expected: "U8 [height, width, 3]", found: "something else")
    }
    let image = RGBImage(
      ImageSize(width: rgb.shape[1], height: rgb.shape[0]),
      samples: file.file.withBytes { Array($0[rgb.range]) })
    let usual = ImageRule.m1
    let pixels = Pixels(
      image,
      rule: ImageRule(
        patchSize: question["patch_size"]?.integer ?? usual.patchSize,
        longestSide: question["image_size"]?.integer ?? usual.longestSide))
    return try store(
      "pixels", "F32", [3, pixels.height, pixels.width], pixels.values.withUnsafeBytes { Array($0) })
  }

  /// The prompt of a question, and the checkpoint that is to take it.
  private func prompt(_ question: PythonValue) throws -> (Prompt, Checkpoint) {
    guard let checkpoint else {
      throw InputError(
        .wrongRequest, question["op"]?.text ?? "op", expected: "a checkpoint that is loaded", found: "none")
    }
    guard let tokens = question["tokens"]?.integers else {
      throw refusal("tokens", "an array of integers", question["tokens"])
    }
    let images = question["tensors"].flatMap { $0 == .none ? nil : $0 }
    return (try Prompt(tokens: tokens, pixelsFile: images.map { try path($0, "tensors") }), checkpoint)
  }

  /// Of each token of an answer that is given: [1, tokens].
  private func logProbabilities(_ question: PythonValue) throws -> String {
    let (prompt, checkpoint) = try prompt(question)
    guard let given = question["answer"]?.integers, !given.isEmpty else {
      throw refusal("answer", "an array of integers, one at least", question["answer"])
    }
    let answer =
      switch precision {
      case .float32: try Pixtral<Float>(checkpoint).answer(prompt, forced: given, tokenizer: tokenizer)
      case .float64: try Pixtral<Double>(checkpoint).answer(prompt, forced: given, tokenizer: tokenizer)
      }
    let values = answer.tokens.map(\.logProbability)
    return try store("logprobs", "F64", [1, values.count], values.withUnsafeBytes { Array($0) })
  }

  private func trace(_ question: PythonValue) throws -> String {
    let (prompt, checkpoint) = try prompt(question)
    let out = TraceFolder("\(folder)/answer-\(next())", dtype: precision.dtype, sparing: [])
    do {
      switch precision {
      case .float32: _ = try Pixtral<Float>(checkpoint)(prompt, trace: Trace(out))
      case .float64: _ = try Pixtral<Double>(checkpoint)(prompt, trace: Trace(out))
      }
    } catch is TraceEnd {}
    _ = try out.finish(summary: [])
    return out.file
  }

  private func path(_ value: PythonValue?, _ key: String) throws -> String {
    guard let path = value?.text else { throw refusal(key, "the path of a file", value) }
    return path.hasPrefix("/") ? path : "\(folder)/\(path)"
  }

  private func refusal(_ key: String, _ expected: String, _ found: PythonValue?) -> InputError {
    InputError(.wrongRequest, key, expected: expected, found: found?.kindName ?? "nothing")
  }

  private func store(_ name: String, _ type: String, _ shape: [Int], _ bytes: [UInt8]) throws -> String {
    let path = "\(folder)/answer-\(next()).safetensors"
    let file = try NewFile(path, room: bytes.count, sparing: [])
    try file.write(safetensors(name, type, shape, bytes))
    try file.finish()
    return path
  }

  private func next() -> Int {
    answers += 1
    return answers
  }
}
