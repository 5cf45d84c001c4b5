import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText

// Stage rgb and stage pixels: files go to and fro.

extension Asking {
  func rgb(_ question: ConformanceCase) throws -> CaseVerdict {
    let path: String
    if let bytes = question.inputs["base64"]?.text {
      path = try "\(runtime.inputFolder(of: question))/image"
      try write(try decoded(bytes, question, "inputs.base64"), to: path)
    } else {
      let own = try file(question.inputs, of: question)
      path = runtime.isSentOn ? try "\(runtime.inputFolder(of: question))/image" : own
      if path != own { try write(MappedFile(plain: own).withBytes { Array($0) }, to: path) }
    }
    return try judged(question, runtime.ask(question, "rgb", [("file", JSON.string(path).bytes)])) {
      answer in
      let shape = [question.expect["height"]?.integer ?? 0, question.expect["width"]?.integer ?? 0, 3]
      switch try tensor("rgb", "U8", of: answer, question) {
      case .failure(let unusable): return CaseVerdict(question, .malformed, unusable.why)
      case .success(let found):
        // Where no answer is right, any small one may be a mistake's.
        if question.expectsRefusal, found.tensor.range.count < Self.mostSamples {
          return explained(
            CaseVerdict(question, .failed), found.file.withBytes { Array($0[found.tensor.range]) })
        }
        return try judged(found, shape, question) { explained(try samples($0, shape, path, question), $0) }
      }
    }
  }

  private static let mostSamples = 1 << 24

  /// - path: the file that was to be read.
  private func samples(_ found: [UInt8], _ shape: [Int], _ path: String, _ question: ConformanceCase) throws
    -> CaseVerdict
  {
    func picture(_ expected: [UInt8]) -> Evidence {
      .picture(DifferencePicture(samples: expected, found, width: shape[1], height: shape[0]))
    }
    guard let text = question.expect["rgb"]?.text, let expected = base64(text) else {
      func isRight(_ samples: [UInt8]) -> Bool {
        let hash = SHA256()
        hash.update(samples)
        return hash.hexDigest() == question.expect["sha256"]?.text
      }
      if isRight(found) { return CaseVerdict(question, .passed) }
      return CaseVerdict(
        question, .failed, "other samples, by their SHA-256",
        // The case keeps no samples: those read here are shown if they are the right ones.
        evidence: try shown(question) {
          let own = try RGBImage(file: path).samples
          return isRight(own) ? picture(own) : nil
        })
    }
    let wrong = zip(found, expected).enumerated().filter { $0.element.0 != $0.element.1 }
    guard let first = wrong.first else { return CaseVerdict(question, .passed) }
    let largest = wrong.map { abs(Int($0.element.0) - Int($0.element.1)) }.max() ?? 0
    let (row, rest) = first.offset.quotientAndRemainder(dividingBy: shape[1] * 3)
    return CaseVerdict(
      question, .failed,
      "\(wrong.count) of \(found.count) samples are off, by up to \(largest); the first in row \(row), column \(rest / 3): "
        + "expected \(first.element.1), found \(first.element.0)",
      evidence: shown(question) { picture(expected) })
  }

  func pixels(_ question: ConformanceCase) throws -> CaseVerdict {
    let subject = question.json["subject"]
    let isUsual = subject?["patch_size"]?.integer == 16 && subject?["image_size"]?.integer == 1024
    guard isUsual || runtime.description.features.contains("pixels.sizes") else {
      return lacks(question, "pixels.sizes")
    }
    let image: RGBImage
    if let text = question.inputs["rgb"]?.text, let width = question.inputs["width"]?.integer,
      let height = question.inputs["height"]?.integer
    {
      image = RGBImage(
        ImageSize(width: width, height: height), samples: try decoded(text, question, "inputs.rgb"))
    } else {
      image = try RGBImage(file: file(question.inputs, of: question))
    }
    let input = try "\(runtime.inputFolder(of: question))/rgb.safetensors"
    try write(safetensors("rgb", "U8", [image.height, image.width, 3], image.samples), to: input)
    let rule = ["patch_size", "image_size"].map {
      (key: $0, json: subject?[$0].jsonBytes ?? [])
    }
    let answer = try runtime.ask(question, "pixels", [("tensors", JSON.string(input).bytes)] + rule)
    return try judged(question, answer) { answer in
      switch try tensor("pixels", "F32", of: answer, question) {
      case .failure(let unusable): return CaseVerdict(question, .malformed, unusable.why)
      case .success(let found):
        let shape = question.expect["shape"]?.integers ?? []
        return try judged(found, shape, question) { try distance(shape, $0, question) }
      }
    }
  }

  private func distance(_ shape: [Int], _ bytes: [UInt8], _ question: ConformanceCase) throws -> CaseVerdict {
    let expect = question.expect
    let path = try file(expect, of: question)
    let golden = try Safetensors(MappedFile(plain: path))
    guard let name = expect["tensor"]?.text,
      let stored = golden.tensors.first(where: { $0.name == name })
    else {
      throw InputError(
        .wrongRequest, "\(question.id), expect.tensor", expected: "a tensor of \(path)", found: "none")
    }
    let expected: [Float] = try StoredTensor(stored, of: golden.file).vector()
    let all = bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    let found = expect["rows"]?.integers.map { all.rows($0, of: shape) } ?? all
    func picture() -> Evidence {
      let rows = expect["rows"]?.integers
      var picture = DifferencePicture(
        pixels: expected, found, width: shape[2], height: rows?.count ?? shape[1],
        allowed: question.compare["max_abs"]?.number ?? 0)
      picture.rowNumbers = rows
      return .picture(picture)
    }
    if let at = found.firstIndex(where: { !$0.isFinite }) {
      return CaseVerdict(
        question, .failed, "value \(at) is \(numberText(Double(found[at])))",
        evidence: shown(question) { picture() })
    }
    var (largest, error, size) = (0.0, 0.0, 0.0)
    for (a, e) in zip(found, expected) {
      let difference = Double(a) - Double(e)
      largest = max(largest, difference.magnitude)
      error += difference * difference
      size += Double(e) * Double(e)
    }
    let lines =
      shape.dropLast().reduce(1, *) / max(1, shape[1]) * (expect["rows"]?.integers?.count ?? shape[1])
    let explaining = try faults.sketches(question.id)?.explaining(
      limit: { _ in Self.leastPixelFault },
      found: { _ in SketchedTap("pixels", found, rows: lines, reference: size.squareRoot()) })
    let isRelative = question.compare["relF"] != nil
    let distance = isRelative ? (error / size).squareRoot() : largest
    guard let limit = question.compare[isRelative ? "relF" : "max_abs"]?.number else {
      throw InputError(
        .wrongRequest, "\(question.id), compare", expected: "relF or max_abs", found: "neither")
    }
    let isClose = distance <= limit
    var verdict = CaseVerdict(
      question, isClose ? .passed : .failed, distance: distance, limit: limit,
      evidence: isClose ? nil : shown(question) { picture() })
    verdict.explaining = explaining ?? [:]
    return verdict
  }

  /// A relF of pixels that is no noise of float32.
  private static let leastPixelFault = 1e-4

  /// Judges the bytes of a tensor; of one of another shape none is read.
  private func judged(
    _ found: (tensor: Safetensors.Tensor, file: MappedFile), _ shape: [Int], _ question: ConformanceCase,
    _ judge: ([UInt8]) throws -> CaseVerdict
  ) rethrows -> CaseVerdict {
    guard found.tensor.shape == shape else {
      return CaseVerdict(question, .failed, "expected the shape \(shape), found \(found.tensor.shape)")
    }
    return try judge(found.file.withBytes { Array($0[found.tensor.range]) })
  }

  /// A tensor of an answer, and the file that it is in.
  private func tensor(
    _ name: String, _ type: String, of answer: JSON, _ question: ConformanceCase
  ) throws -> Result<(tensor: Safetensors.Tensor, file: MappedFile), Unusable> {
    try tensors(of: answer, question).flatMap { file in
      guard let tensor = file.tensors.first(where: { $0.name == name }) else {
        return .failure(Unusable("no tensor \(name) in \(file.file.path)"))
      }
      guard tensor.typeName == type else {
        return .failure(Unusable("\(name) is \(tensor.typeName), and has to be \(type)"))
      }
      return .success((tensor, file.file))
    }
  }
}

extension [Float] {
  /// Some rows of each channel of values [channels, height, width].
  fileprivate func rows(_ rows: [Int], of shape: [Int]) -> [Float] {
    var kept: [Float] = []
    for channel in 0..<shape[0] {
      for row in rows {
        let start = (channel * shape[1] + row) * shape[2]
        kept += self[start..<start + shape[2]]
      }
    }
    return kept
  }
}

// MARK: - Files of a case

extension Asking {
  /// The path of a file that a case names, which must have the SHA-256 that it says.
  func file(_ named: PythonValue, of question: ConformanceCase) throws -> String {
    let path = "\(question.folder)/\(named["file"]?.text ?? "")"
    let hash = SHA256()
    try MappedFile(plain: path).withBytes { hash.update($0) }
    let found = hash.hexDigest()
    guard found == named["sha256"]?.text else {
      throw InputError(
        .wrongRequest, "\(question.id), \(path)",
        expected: "the SHA-256 \(named["sha256"]?.text ?? "of the case")",
        found: found, advice: "the fixtures were changed; take them anew")
    }
    return path
  }

  private func decoded(_ text: String, _ question: ConformanceCase, _ key: String) throws -> [UInt8] {
    guard let bytes = base64(text) else {
      throw InputError(
        .wrongRequest, "\(question.id), \(key)", expected: "base64", found: shortened(text, to: 40))
    }
    return bytes
  }
}

/// Writes a file of the session.
func write(_ bytes: [UInt8], to path: String) throws {
  try NewFile.write(bytes, to: path, sparing: [])
}

/// A safetensors file of one tensor, of any dtype.
package func safetensors(_ name: String, _ type: String, _ shape: [Int], _ bytes: [UInt8]) -> [UInt8] {
  let header: JSON = [
    name: [
      "dtype": .string(type), "shape": .array(shape.map(JSON.integer)),
      "data_offsets": .array([.integer(0), .integer(bytes.count)]),
    ]
  ]
  var text = Array(header.text().utf8)
  text += [UInt8](repeating: UInt8(ascii: " "), count: (8 - text.count % 8) % 8)
  return withUnsafeBytes(of: UInt64(text.count).littleEndian, Array.init) + text + bytes
}

/// RFC 4648 with padding; nil for anything else.
func base64(_ text: String) -> [UInt8]? {
  let text = Array(text.utf8)
  guard text.count % 4 == 0 else { return nil }
  var bytes: [UInt8] = []
  bytes.reserveCapacity(text.count / 4 * 3)
  for start in stride(from: 0, to: text.count, by: 4) {
    var (value, padding) = (UInt32(0), 0)
    for place in start..<start + 4 {
      let digit: UInt32
      switch text[place] {
      case let c where (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(c): digit = UInt32(c) - 65
      case let c where (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(c): digit = UInt32(c) - 71
      case let c where (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(c): digit = UInt32(c) + 4
      case UInt8(ascii: "+"): digit = 62
      case UInt8(ascii: "/"): digit = 63
      case UInt8(ascii: "=") where place >= text.count - 2:
        digit = 0
        padding += 1
      default: return nil
      }
      guard padding == 0 || text[place] == UInt8(ascii: "=") else { return nil }
      value = value << 6 | digit
    }
    bytes += [UInt8(value >> 16 & 255), UInt8(value >> 8 & 255), UInt8(value & 255)].dropLast(padding)
  }
  return bytes
}
