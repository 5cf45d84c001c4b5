import Glibc
import PixtralStorage

/// Makes sure that a run fits in memory, before anything of it is computed.
///
/// What it holds at once is estimated from its taps: the values that are alive together where most
/// of them are. Prompts that are run together are there at once. Docs/Limits.md gives the sum.
package final class RunMemory {
  private let dtype: DType
  private let room: () -> (memory: Int, addresses: Int)
  private let advice: String
  private var prompts = 0
  private var tokens = 0
  /// Of each tap, in values of all prompts; Int holds them, for a matrix of a run has fewer than 2⁵²
  /// values.
  private var sizes: [String: Int] = [:]
  /// The layers' norms, in the order of computation.
  private var norms: [String] = []
  private var patchValues = 0
  /// Bytes of the largest image while it is decoded.
  private var largestImage = 0
  /// Values of key-value caches.
  private var cached = 0

  /// - advice: how to compute less.
  package convenience init(
    dtype: DType, advice: String = "--logits last, an earlier --until, fewer taps on demand"
  ) { self.init(dtype: dtype, advice: advice, room: freeMemory) }

  /// - room: bytes that there are, and how large the process may become beside what it has.
  init(dtype: DType, advice: String = "", room: @escaping () -> (memory: Int, addresses: Int)) {
    self.dtype = dtype
    self.advice = advice
    self.room = room
  }

  /// Counts the run of a prompt in.
  ///
  /// - taps: what it computes, in its order.
  /// - answer: how many tokens of an answer follow it for certain, through a key-value cache; nil for a run
  ///   without one.
  /// - Throws: `InputError` of kind `largeRun` if it and those before it do not fit.
  package func add(_ taps: [PlannedTap], for prompt: PromptShape, answer: Int? = nil) throws {
    count(taps, prompt)
    if let answer { cached += Self.cached(taps, tokens: prompt.tokens.count + answer) }
    let need = peak
    // Beside it each thread reserves addresses that it never uses: its stack, its heap, BLAS's buffer.
    let room = room()
    let free = min(room.memory, room.addresses - BLAS.threads * 280 << 20)
    guard need.bytes <= free else {
      let isOneOfMany = prompts > 1
      throw InputError(
        .largeRun, "this run",
        expected: "to need at most the \(megabytes(max(0, free))) of memory that are free",
        found: "about \(megabytes(need.bytes)), at \(need.place), for \(tokens) tokens"
          + (isOneOfMany ? " of \(prompts) prompts" : ""),
        advice: "compute less: " + (isOneOfMany ? "fewer requests at once, " : "")
          + advice)
    }
  }

  /// The keys and values of all layers; room for them grows by doubling.
  private static func cached(_ taps: [PlannedTap], tokens: Int) -> Int {
    let kept = taps.filter { tap in
      tap.name.hasPrefix("decoder.")
        && [LayerTap.kRotated, .v].contains { tap.name.hasSuffix(".\($0.rawValue)") }
    }
    return kept.reduce(0) { $0 + 2 * $1.columns * tokens }
  }

  private func count(_ taps: [PlannedTap], _ prompt: PromptShape) {
    prompts += 1
    tokens += prompt.tokens.count
    var pictures: [String: Int] = [:]
    for tap in taps {
      let values = tap.rows * tap.columns
      if tap.name.hasPrefix("image.") { pictures[tap.name] = values }
      if sizes[tap.name] == nil, tap.name.hasSuffix(".\(LayerTap.attentionNorm.rawValue)") {
        norms.append(tap.name)
      }
      sizes[tap.name, default: 0] += values
    }
    for (n, image) in prompt.images.enumerated() {
      let patches = image.grid.patches * prompt.patchSize * prompt.patchSize
      patchValues += 3 * patches
      // Samples, perhaps coefficients, and what is shown of them, as float32.
      let shown = ["image.\(n).rgb", "image.\(n).resized"].reduce(0) { $0 + (pictures[$1] ?? 0) }
      let sent = image.sent.map { $0.width * $0.height * 9 } ?? 0
      largestImage = max(largestImage, sent + 28 * patches + 4 * shown)
    }
  }

  /// The most bytes that are held at once, and at which tap.
  private var peak: (bytes: Int, place: String) {
    func size(_ names: [String]) -> Int { names.reduce(0) { $0 + (sizes[$1] ?? 0) } }
    var most = (values: 0, place: "")
    func stage(_ values: Int, _ place: String) { if values > most.values { most = (values, place) } }
    for norm in norms {
      let prefix = norm.dropLast(LayerTap.attentionNorm.rawValue.count)
      func layer(_ taps: LayerTap...) -> Int { size(taps.map { prefix + $0.rawValue }) }
      // The patches stay until the vision encoder has ended; the layer's input is as large as its norm.
      let held = (prefix.hasPrefix("vision.") ? patchValues : 0) + size([norm])
      stage(
        held + layer(.attentionNorm, .q, .k, .v, .qRotated, .kRotated, .context, .scores, .weights),
        "\(prefix)attention")
      stage(
        held + layer(.residual, .ffnNorm, .gate, .up, .hidden, .feedForwardOutput), "\(prefix)feed_forward")
    }
    func model(_ taps: ModelTap...) -> Int { size(taps.map(\.rawValue)) }
    stage(patchValues + model(.patchConv, .lnPre), ModelTap.lnPre.rawValue)
    // The adapter's input is narrower than what it makes of it.
    stage(model(.adapterIn, .adapterGelu, .adapterOut) + model(.lnPre), ModelTap.adapterOut.rawValue)
    stage(model(.adapterOut, .embeddings), ModelTap.embeddings.rawValue)
    stage(2 * model(.decoderNorm) + model(.logits), ModelTap.logits.rawValue)
    // Each thread widens a block of a weight, and BLAS copies parts of what it multiplies.
    let threads = BLAS.threads * (WeightBlock.rows * WeightBlock.columns * dtype.size + 32 << 20)
    // Images come before all this, one at a time.
    let images = largestImage + patchValues * dtype.size
    let bytes = (most.values + cached) * dtype.size + threads
    return images > bytes ? (images, "the images") : (bytes, most.place)
  }
}

private func megabytes(_ bytes: Int) -> String { "\((bytes + 999_999) / 1_000_000) MB" }

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
