import ArgumentParser
import Glibc
import Logging
import PixtralProgram
import PixtralReference
import PixtralServer
import PixtralStorage

@main
struct PixtralRefServe: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pixtral-ref-serve",
    abstract: "Answer over HTTP, as an OpenAI-compatible server: the golden answer to compare others with.",
    discussion: """
      The first line on standard output says what is served, and how to ask it. Requests are answered one at a \
      time, as their prompts become ready. SIGTERM or SIGINT ends it: the request that is being answered is answered first.

        GET  /health               200 while it serves
        GET  /v1/models            what it serves
        POST /v1/chat/completions  OpenAI's chat completions, plain and as server-sent events
        POST /tokenize             a chat request, or a text, to tokens
        POST /detokenize           tokens to text

      Images come in data: URLs. --files DIR allows file:// URLs of what lies below it, --fetch HOST those of a \
      host. Docs/Serving.md has the rules, Docs/openapi.yaml the same for programs.

      To serve the model that the model card's clients ask for:
        pixtral-ref serve --name mistralai/Pixtral-Large-Instruct-2411 --fetch huggingface.co
      """,
    version: Program.version)

  @Option(
    help: """
      seeded:tiny, seeded:small, seeded:pixtral-large, or a folder in Mistral's or Hugging Face's layout.
      """)
  var checkpoint = "seeded:tiny"

  @Option(
    help: "What the model is called; may be given several times. (default: as the checkpoint)")
  var name: [String] = []

  @Option(help: "The address to listen at; 0.0.0.0 for all.")
  var host = "127.0.0.1"

  @Option(help: "The port; 0 for a free one.")
  var port = 8000

  @Option(help: "The arithmetic, float32 or float64.")
  var precision = Precision.float32

  @Option(help: "A folder: images below it may be named in file:// URLs.")
  var files: String?

  @Option(
    help: """
      HOST or HOST:PORT that images may be fetched from; may be given several times. Its address is looked up \
      once, now.
      """)
  var fetch: [String] = []

  @Option(help: "What clients must send as Authorization: Bearer KEY, to all but /health.")
  var apiKey: String?

  @Option(help: "How many requests may wait while one is answered.")
  var queue = 16

  @Option(help: "The most bytes of a request.")
  var maxBody = 64 << 20

  @Option(help: "The most tokens of a prompt and its answer.")
  var context = 131_072

  @Flag(help: "A line on standard error for each request; so it is on a terminal.")
  var verbose = false

  @OptionGroup var limit: PixelLimit

  @OptionGroup var tokenizer: TokenizerFile

  func validate() throws {
    guard (0...65_535).contains(port) else { throw ValidationError("--port must be from 0 to 65535.") }
    guard (0...1_000_000).contains(queue) else {
      throw ValidationError("--queue must be from 0 to 1000000.")
    }
    guard (1...(1 << 30)).contains(maxBody) else {
      throw ValidationError("--max-body must be from 1 to \(1 << 30).")
    }
    guard (2...Int(Int32.max)).contains(context) else {
      throw ValidationError("--context must be from 2 to \(Int32.max).")
    }
    guard !name.contains("") else { throw ValidationError("--name must be some text.") }
    guard apiKey != "" else { throw ValidationError("--api-key must be some text.") }
  }

  static func main() async {
    do {
      try Program.begin()
      var command = try parseAsRoot()
      if var command = command as? any AsyncParsableCommand {
        try await command.run()
      } else {
        try command.run()
      }
    } catch {
      Program.end(error, of: self)
    }
  }

  func run() async throws {
    try BLAS.begin()
    keepFreedMemory(upTo: 8 << 20)
    // A client that has left is no reason to end.
    signal(SIGPIPE, SIG_IGN)
    let checkpoint = try Checkpoint(checkpoint)
    for warning in checkpoint.warnings { Console.warn(warning) }
    var settings = ServerSettings(names: name.isEmpty ? [checkpoint.name] : name)
    (settings.host, settings.port) = (host, port)
    settings.files = try files.map { try FileTree($0) }
    settings.hosts = try fetch.map { try RemoteHost($0) }
    (settings.apiKey, settings.queue, settings.maxBody) = (apiKey, queue, maxBody)
    (settings.context, settings.maxPixels) = (context, limit.maxPixels)

    var logger = Logger(label: "pixtral-ref-serve") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = verbose || isatty(STDERR_FILENO) != 0 ? .info : .warning
    let server = Server(
      settings, checkpoint: checkpoint, tokenizer: try tokenizer.read(), precision: precision, logger: logger)
    try await server.run { port in Console.out(greeting(checkpoint.name, port)) }
  }

  /// What is served, and a line to try it with.
  private func greeting(_ name: String, _ port: Int) -> String {
    let address = "http://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    let key = apiKey == nil ? "" : #" -H "Authorization: Bearer $KEY""#
    let body = #"{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16}"#
    return """
      \(address) serves \(name); try: curl \(address)/v1/chat/completions -H 'Content-Type: application/json'\(key) \
      -d '\(body)'
      """
  }
}
