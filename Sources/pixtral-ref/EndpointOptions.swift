import ArgumentParser
import Glibc
import PixtralConformance
import PixtralProgram
import PixtralReference
import PixtralStorage
import PixtralText

extension ImagesRule: ExpressibleByArgument {}

/// A server, and what is said of it.
struct EndpointOptions: ParsableArguments {
  @Option(
    help: "The address of an OpenAI-compatible server, such as http://127.0.0.1:8000, or what --bodies kept.")
  var endpoint: String?

  @Option(help: "With --endpoint: what the model is called there. (default: the first that it lists)")
  var model: String?

  @Option(help: "With --endpoint: sent as Authorization: Bearer KEY.")
  var key: String?

  @Option(help: "With --endpoint: what the server computes in. (default: float32, or as --bodies kept it)")
  var arithmetic: Arithmetic?

  @Option(
    help:
      "With --endpoint: whose rule of images it follows on purpose, Docs/Images.md. (default: mistral, or as kept)"
  )
  var images: ImagesRule?

  @Flag(help: "With --endpoint: it serves other weights than seeded:small, of which nothing is known.")
  var otherWeights = false

  @Option(help: "With --endpoint: also keep all that was asked and said, a line of JSON each.")
  var bodies: String?

  func validate() throws {
    let isPlain =
      model == nil && key == nil && arithmetic == nil && images == nil && bodies == nil && !otherWeights
    guard endpoint != nil || isPlain else {
      throw ValidationError(
        "--model, --key, --arithmetic, --images, --bodies and --other-weights go with --endpoint.")
    }
    guard model.map({ $0.utf8.count <= 1000 }) ?? true else {
      throw ValidationError("--model must be of at most 1000 bytes.")
    }
    // What stands behind a line's end would be a header of its own.
    guard key.map({ $0.utf8.allSatisfy { (0x21...0x7e).contains($0) } && !$0.isEmpty }) ?? true else {
      throw ValidationError("--key must be of visible ASCII characters.")
    }
  }

  /// The file of a recording, if it is one that is asked.
  var recording: String? { endpoint.flatMap { access($0, R_OK) == 0 ? $0 : nil } }

  /// The server, or who answers in its place.
  ///
  /// - bodies: where to keep what is said.
  /// - Throws: `InputError` if it cannot be asked.
  func open(
    timeout: Double, bodies: NewFile?, tokenizer: Tokenizer, suite: EndpointSuite?
  ) throws -> (server: Endpoint, recorder: Recorder?) {
    let replay = try recording.map { try Replay($0) }
    var declared = replay?.declared ?? Declared()
    declared.model = model ?? declared.model
    declared.arithmetic = arithmetic ?? declared.arithmetic
    declared.images = images ?? declared.images
    if otherWeights { declared.hasKnownWeights = false }
    let address = try recording ?? Endpoint.address(endpoint ?? "")
    let transport: any Transport = replay ?? HTTPClient(address, key: key, timeout: timeout)
    let recorder = try bodies.map { try Recorder(transport, declared, to: $0) }
    let server = try Endpoint(
      recorder ?? transport, place: Endpoint.shown(address), declared, tokenizer: tokenizer, suite: suite)
    return (server, recorder)
  }

  /// What of it a repetition needs, but for the key.
  var repeated: [String] {
    guard let endpoint else { return [] }
    return ["--endpoint", Endpoint.shown(endpoint)] + (model.map { ["--model", $0] } ?? [])
      + (key == nil ? [] : ["--key", "KEY"]) + (arithmetic.map { ["--arithmetic", $0.rawValue] } ?? [])
      + (images.map { ["--images", $0.rawValue] } ?? []) + (otherWeights ? ["--other-weights"] : [])
  }
}
