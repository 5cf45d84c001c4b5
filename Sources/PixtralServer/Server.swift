import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import PixtralImage
import PixtralReference
import PixtralStorage
import PixtralText
import ServiceLifecycle
import UnixSignals

/// What a server serves, to whom, and how much of it.
package struct ServerSettings: Sendable {
  /// What the model is called; the first where a request does not say.
  package var names: [String]
  package var host = "127.0.0.1"
  /// 0 for one that the system chooses.
  package var port = 8000
  /// What `file://` URLs may name; nothing without it.
  package var files: FileTree?
  /// Where remote images may be fetched from.
  package var hosts: [RemoteHost] = []
  /// Without it everybody is served.
  package var apiKey: String?
  /// How many requests may wait for their answer.
  package var queue = 16
  /// The most bytes of a body.
  package var maxBody = 64 << 20
  /// The most tokens of a prompt and its answer.
  package var context = 131_072
  /// Images of more pixels are refused.
  package var maxPixels = ImageSize.usualMaxPixels
  package var patience = Patience()

  package init(names: [String]) { self.names = names }
}

/// How long a client, and what its request leads to, is waited for.
package struct Patience: Sendable {
  /// For a body to come.
  package var body = Duration.seconds(60)
  /// For all images of a request to come, redirects and all.
  package var images = Duration.seconds(10)
  /// For a connection to say something: longer than a body, so that one that is too slow is told so.
  package var silence = Duration.seconds(65)
}

/// The golden answer over HTTP. Serving.md.
///
///     request ── Bodies ──▶ JSON ── CompletionRequest ──▶ chat ── RemoteImages, ImageLoader ──▶ prompt   (reading)
///     prompt ── Pixtral.answer ──▶ tokens ── Completion ──▶ an object, or events                        (answering)
///
/// Each of the two is done for one request at a time, in the order of asking.
package struct Server: Sendable {
  private let settings: ServerSettings
  private let model: ServedModel
  private let logger: Logger

  /// Connections that may be open at once.
  private static let connections = 512

  /// - checkpoint: what answers.
  /// - logger: a line a request.
  package init(
    _ settings: ServerSettings, checkpoint: Checkpoint, tokenizer: Tokenizer, precision: Precision,
    logger: Logger
  ) {
    precondition(settings.patience.silence > settings.patience.body, "a slow body would not be answered")
    (self.settings, self.logger) = (settings, logger)
    model = ServedModel(checkpoint: checkpoint, tokenizer: tokenizer, precision: precision)
  }

  /// Serves until it is told to end; then the request that is being answered is answered to its end, and all
  /// others are refused.
  ///
  /// - signals: tell it to end.
  /// - listening: told the port, once requests are taken.
  /// - Throws: `InputError` of kind `wrongArgument` if the address is not to be had.
  package func run(
    until signals: [UnixSignal] = [.sigterm, .sigint], listening: @escaping @Sendable (_ port: Int) -> Void
  ) async throws {
    let remote = RemoteImages(settings.hosts, patience: settings.patience.images)
    let reading = Lane("reading", places: Self.connections)
    let answering = Lane("answering", places: settings.queue)
    let routes = Routes(
      settings: settings, model: model,
      bodies: Bodies(limit: settings.maxBody, patience: settings.patience.body), remote: remote,
      reading: reading, answering: answering)
    let application = Application(
      responder: routes,
      server: .http1(
        configuration: .init(
          additionalChannelHandlers: [LeavingHandler()], idleTimeout: TimeAmount(settings.patience.silence))),
      configuration: ApplicationConfiguration(
        address: .hostname(settings.host, port: settings.port), serverName: "pixtral-ref",
        availableConnectionsDelegate: MaximumAvailableConnections(Self.connections)),
      onServerRunning: { listening($0.localAddress?.port ?? settings.port) }, logger: logger)
    // The last is told first to end; the server answers on meanwhile.
    let services: [any Service] = [application, Ending(lanes: [answering, reading])]
    let group = ServiceGroup(
      configuration: .init(
        services: services.map { .init(service: $0) }, gracefulShutdownSignals: signals,
        logger: logger))
    let ended = await Result { try await group.run() }
    try await remote.shutdown()
    func refusal(_ found: String) -> InputError {
      InputError(
        .wrongArgument, "\(settings.host):\(settings.port)", expected: "an address to listen at",
        found: found, advice: "give another with --host and --port")
    }
    do { try ended.get() } catch let error as IOError {
      throw refusal(systemMessage(error.errnoCode))
    } catch is SocketAddressError.UnknownHost {
      throw refusal("a name without one")
    }
  }
}

/// Ends the lanes: what waits is refused, what is being done is done.
private struct Ending: Service {
  let lanes: [Lane]

  func run() async throws {
    defer { for lane in lanes { lane.stop() } }
    try await gracefulShutdown()
    for lane in lanes { lane.stop() }
    for lane in lanes { await lane.finish() }
  }
}

extension Result where Failure == any Error {
  init(_ body: () async throws -> Success) async {
    do { self = .success(try await body()) } catch { self = .failure(error) }
  }
}
