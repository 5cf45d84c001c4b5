import PixtralStorage

/// One side of a comparison: a trace, a file of another runtime, or a case of Fixtures.
package struct TraceFile: Sendable {
  package let path: String
  /// What can be a tap: tensors of floating-point numbers, one at least, in the order of computation.
  let tensors: [StoredTensor]
  /// Every other tensor.
  let others: [Safetensors.Tensor]
  /// What they are of, as far as that is known.
  let run: RunDescription
  /// If it is a case: its rows and limits.
  let model: CaseReference?
  private let files: [Safetensors]
  /// The names of its taps, in the order of computation.
  package var taps: [String] { tensors.map(\.name).filter { !TapPlace.isPixels($0) } }
  /// The names of all that it has.
  package var names: [String] { tensors.map(\.name) + others.map(\.name) }
  /// What the vision encoder was given of each image, as far as it has that: image0, image1, …
  package var images: [StoredTensor] { tensors.filter { TapPlace.isPixels($0.name) } }

  /// - path: a trace folder, whose pixels count too; a folder of Fixtures/cases/model; or a safetensors
  ///   file of any runtime with taps as its tensors.
  package init(_ path: String) throws {
    self.path = path
    var (file, run, model) = (path, RunDescription(), CaseReference?.none)
    var pixels: Safetensors?
    if isFolder(path) {
      let names = fileNames(in: path) ?? []
      if names.contains("case.json") {
        let found = try CaseReference(file: "\(path)/case.json")
        file = "\(path)/\(found.tensors)"
        (run, model) = (found.run, found)
      } else if let form = TraceFolder.Form.allCases.first(where: { names.contains($0.file) }) {
        file = "\(path)/\(form.file)"
        if names.contains("trace.json") { run = try RunDescription(traceFile: "\(path)/trace.json") }
        if names.contains(TraceFolder.pixelsName) {
          pixels = try Safetensors("\(path)/\(TraceFolder.pixelsName)")
        }
      } else {
        throw InputError(
          .wrongTrace, path, expected: "a folder with trace.safetensors, digest.safetensors or case.json",
          found: "neither in it",
          advice: "give a folder that `trace` wrote, a model case, or a safetensors file")
      }
    }
    (self.run, self.model) = (run, model)
    var tensors: [StoredTensor] = []
    var others: [Safetensors.Tensor] = []
    let first = try Safetensors(file)
    for file in [first] + [pixels].compactMap(\.self) {
      if let digests = try DigestFile.read(file) {
        tensors += digests
        continue
      }
      for tensor in file.tensors {
        if tensor.dtype != nil && !tensor.range.isEmpty {
          tensors.append(try StoredTensor(tensor, of: file.file))
        } else {
          others.append(tensor)
        }
      }
    }
    var names: Set<String> = []
    for name in tensors.map(\.name) + others.map(\.name) {
      guard names.insert(name).inserted else {
        throw InputError(
          .wrongTrace, "\(path), tensor \(name)", expected: "each tensor once",
          found: "it in \(fileName(of: file)) and in \(TraceFolder.pixelsName)")
      }
    }
    self.tensors = tensors.inOrderOfComputation(\.name)
    self.others = others
    files = [first] + [pixels].compactMap(\.self)
    try model?.check(tensors, file)
  }
  /// Makes sure that no file has become shorter since it was opened.
  ///
  /// - Throws: `InputError` of kind `unreadableFile`.
  package func checkWhole() throws { for file in files { try file.file.checkWhole() } }
}
