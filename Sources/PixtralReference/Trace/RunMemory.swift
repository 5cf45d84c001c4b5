import Glibc
import PixtralStorage

/// Makes sure that a run fits in memory, before anything of it is computed.
///
/// What it holds at once is estimated from its taps: the values that are alive together where most
/// of them are. Docs/Limits.md gives the sum.
///
/// - taps: what the run computes, in its order.
/// - room: bytes that there are, and how large the process may become beside what it has.
/// - Throws: `InputError` of kind `largeRun`.
func checkMemory(
  of taps: [PlannedTap], for prompt: PromptShape, dtype: DType,
  room: (memory: Int, addresses: Int) = freeMemory()
) throws {
  let need = peakBytes(of: taps, for: prompt, dtype: dtype)
  // Beside it each thread reserves addresses that it never uses: its stack, its heap, BLAS's buffer.
  let room = min(room.memory, room.addresses - BLAS.threads * 280 << 20)
  guard need.bytes <= room else {
    throw InputError(
      .largeRun, "this run",
      expected: "to need at most the \(megabytes(max(0, room))) of memory that are free",
      found: "about \(megabytes(need.bytes)), at \(need.place), for \(prompt.tokens.count) tokens",
      advice: "compute less: --logits last, an earlier --until, fewer taps on demand")
  }
}

private func megabytes(_ bytes: Int) -> String { "\((bytes + 999_999) / 1_000_000) MB" }

/// The most bytes that a run holds at once, and at which tap.
private func peakBytes(
  of taps: [PlannedTap], for prompt: PromptShape, dtype: DType
) -> (bytes: Int, place: String) {
  // By name, in values; Int holds them, for a matrix of a run has fewer than 2⁵² values.
  let sizes = Dictionary(uniqueKeysWithValues: taps.map { ($0.name, $0.rows * $0.columns) })
  func size(_ names: [String]) -> Int { names.reduce(0) { $0 + (sizes[$1] ?? 0) } }
  let patches = prompt.images.reduce(0) { $0 + $1.grid.patches }
  let patchValues = patches * 3 * prompt.patchSize * prompt.patchSize

  var most = (values: 0, place: "")
  func stage(_ values: Int, _ place: String) { if values > most.values { most = (values, place) } }
  for tap in taps where tap.name.hasSuffix(".\(LayerTap.attentionNorm.rawValue)") {
    let prefix = tap.name.dropLast(LayerTap.attentionNorm.rawValue.count)
    func layer(_ taps: LayerTap...) -> Int { size(taps.map { prefix + $0.rawValue }) }
    // The patches stay until the vision encoder has ended; the layer's input is as large as its norm.
    let held = (prefix.hasPrefix("vision.") ? patchValues : 0) + tap.rows * tap.columns
    stage(
      held + layer(.attentionNorm, .q, .k, .v, .qRotated, .kRotated, .context, .scores, .weights),
      "\(prefix)attention")
    stage(held + layer(.residual, .ffnNorm, .gate, .up, .hidden, .feedForwardOutput), "\(prefix)feed_forward")
  }
  func model(_ taps: ModelTap...) -> Int { size(taps.map(\.rawValue)) }
  stage(patchValues + model(.patchConv, .lnPre), ModelTap.lnPre.rawValue)
  // The adapter's input is narrower than what it makes of it.
  stage(model(.adapterIn, .adapterGelu, .adapterOut) + model(.lnPre), ModelTap.adapterOut.rawValue)
  stage(model(.adapterOut, .embeddings), ModelTap.embeddings.rawValue)
  stage(2 * model(.decoderNorm) + model(.logits), ModelTap.logits.rawValue)
  // Each thread widens a block of a weight, and BLAS copies parts of what it multiplies.
  let bytes =
    most.values * dtype.size + BLAS.threads * (WeightBlock.rows * WeightBlock.columns * dtype.size + 32 << 20)

  // Images come before all this, one at a time: samples, perhaps coefficients, and the pictures.
  let image =
    prompt.images.enumerated().map { n, image in
      let sent = image.sent.map { $0.width * $0.height * 9 } ?? 0
      let pixels = image.grid.patches * prompt.patchSize * prompt.patchSize * 28
      return sent + pixels + 4 * size(["image.\(n).rgb", "image.\(n).resized"])
    }.max() ?? 0
  let images = image + patchValues * dtype.size
  return images > bytes ? (images, "the images") : (bytes, most.place)
}

/// Bytes of memory that are free, and bytes of addresses.
private func freeMemory() -> (memory: Int, addresses: Int) {
  func number(_ path: String, after key: String = "") -> Int? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
      if text.hasPrefix(key) {
        return Int(text.dropFirst(key.count).drop { $0 == " " }.prefix { $0.isNumber })
      }
    }
    return nil
  }
  let free =
    ["MemAvailable:", "SwapFree:"].map { number("/proc/meminfo", after: $0) ?? 0 }.reduce(0, +) << 10
  // Of a container.
  let group = number("/sys/fs/cgroup/memory.max") ?? .max
  var limit = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
  let pages = number("/proc/self/statm") ?? 0
  let addresses = limit.rlim_cur > UInt(Int.max) ? .max / 2 : Int(limit.rlim_cur) - pages * Int(getpagesize())
  return (free == 0 ? group : min(free, group), addresses)
}
